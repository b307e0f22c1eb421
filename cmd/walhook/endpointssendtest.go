package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

func (a *app) endpointsSendTest() *cobra.Command {
	var event, file string
	var asJSON bool
	c := &cobra.Command{
		Use:   "send-test NAME",
		Short: "Send one signed test event to an endpoint, now",
		Long: `send-test sends one request with the endpoint's whole configuration (signature, credentials, headers, proxy, certificates) and prints what was
sent, what came back and how long each step took. It waits for no queue, is not retried, and works while walhook does not run, and
also while the endpoint is paused.

The event is marked as a test: its type is walhook.test, it carries the header Webhook-Test: true and an id that no delivery has
(test_…), and it has no number in the endpoint's sequence. It is on record with its attempt (walhook deliveries list --state test, and show), and is
never sent again. Nothing is sent from a copy of the database.

The status is 0 when the receiver took it, and 1 when a delivery would have failed.`,
		Example: "  walhook endpoints send-test erp\n  walhook endpoints send-test erp --event sale.order.confirmed --body order.json\n  walhook endpoints send-test erp --json | jq .attempt.phases_ms",
		Args:    oneArgument("the name of an endpoint"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := a.readBody(file)
			if err != nil {
				return err
			}
			return a.withState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				result, err := cfg.desk(db).SendTest(cmd.Context(), args[0], event, body)
				if err != nil {
					return err
				}
				if asJSON {
					err = a.printJSON(result)
				} else {
					err = a.printTest(result)
				}
				switch {
				case err != nil:
					return err
				case result.RecordError != nil:
					return environmentError(fmt.Errorf("the test was sent (%s), and could not be put on record: %w", result.Result, result.RecordError), "")
				case result.Result != delivery.Delivered:
					return errQuiet(exitFailed)
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&event, "event", "", "type of the event in the body (default "+delivery.TestEvent+")")
	c.Flags().StringVar(&file, "body", "", "file that is sent as the body, - for standard input (default a body that says that it is a test)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// readBody reads what is to be sent; nil for walhook's own.
func (a *app) readBody(file string) (body []byte, err error) {
	switch file {
	case "":
		return nil, nil
	case "-":
		body, err = io.ReadAll(a.stdin)
	default:
		body, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, usagef("", "--body: %w", err)
	}
	return append([]byte{}, body...), nil
}

func (a *app) printTest(r *status.TestResult) error {
	t := r.Attempt
	fmt.Fprintf(a.stdout, "%s %s\n", t.Method, t.URL)
	printHeaders(a.stdout, "> ", t.RequestHeaders)
	body, err := bodyText(r.Body, "")
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\n%s\n\n", body)
	if t.Status != 0 {
		printHeaders(a.stdout, "< ", t.ResponseHeaders)
		printAnswer(a.stdout, "< ", &t)
		fmt.Fprintln(a.stdout)
	}
	for _, phase := range []string{"dns", "connect", "tls", "first_byte"} {
		if ms, ok := t.Phases[phase]; ok {
			fmt.Fprintf(a.stdout, "%-10s  %8.1f ms\n", phase, ms)
		}
	}
	fmt.Fprintf(a.stdout, "%-10s  %8.1f ms\n\n", "total", t.Milliseconds)
	switch r.Result {
	case delivery.Delivered:
		fmt.Fprintf(a.stdout, "taken: the receiver answered with status %d\n", t.Status)
	case delivery.Retry:
		fmt.Fprintf(a.stdout, "not taken: %s; a delivery would be tried again\nhint: walhook endpoints verify %s\n", r.Reason, r.Endpoint)
	default:
		fmt.Fprintf(a.stdout, "not taken: %s; a delivery would be a dead letter\nhint: walhook endpoints verify %s\n", r.Reason, r.Endpoint)
	}
	return nil
}
