package main

import (
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// publicKey is one line of `endpoints keys`.
type publicKey struct {
	Endpoint string `json:"endpoint"`
	Key      string `json:"public_key"`
}

func (a *app) endpointsKeys() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "keys",
		Short: "Print the public keys that receivers verify signatures with",
		Long: `keys prints the public half of every ed25519 key (whsk_...) among the secrets of the configuration, in the order in which
their signatures stand in the header webhook-signature. Public keys are no secrets: give them to whoever runs the
receiver. It needs no database.`,
		Example: "  walhook endpoints keys\n  echo \"whsk_$(openssl rand -base64 32)\"     a new private key",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			keys := []publicKey{}
			for _, name := range slices.Sorted(maps.Keys(cfg.Endpoints)) {
				endpoint := cfg.Endpoints[name]
				for _, k := range endpoint.PublicKeys() {
					keys = append(keys, publicKey{name, k.String()})
				}
			}
			switch {
			case asJSON:
				return a.printJSON(keys)
			case len(keys) == 0:
				_, err := fmt.Fprintln(a.stdout, "no endpoint signs with ed25519")
				return err
			}
			table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
			fmt.Fprintln(table, "ENDPOINT\tPUBLIC KEY")
			for _, k := range keys {
				fmt.Fprintf(table, "%s\t%s\n", k.Endpoint, k.Key)
			}
			return table.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
