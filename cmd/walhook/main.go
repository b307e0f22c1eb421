// Command walhook turns changes in an Odoo database into reliable webhooks.
package main

import (
	"context"
	"os"
)

func main() {
	toleratesFileLimit()
	ctx, stop := onSignals(context.Background())
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
