package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"walhook/rules"
)

func (a *app) rulesTest() *cobra.Command {
	var asJSON, asTAP bool
	c := &cobra.Command{
		Use:   "test FILE…",
		Short: "Run rules against cases that are written in a file",
		Long: `test runs rules of the configuration against changes that a file makes up, and compares what becomes of them with what the
file says. It needs the database for its models and fields alone: no record is read, nothing is sent or written. It ends with status 1
when a case comes out differently.

  [[cases]]
  name    = "a confirmed quotation is sent"
  rule    = "order_confirmed"
  before  = { state = "draft" }                       # a write: what was different
  after   = { name = "S00042", state = "sale", partner_id = 7 }
  related = { partner_id = { name = "Azure Interior" }, order_line = [{ product_uom_qty = 2 }] }
  expect  = true
  payload = { order = "S00042", customer = "Azure Interior" }

A case with after alone is a create, one with before alone an unlink. Fields that are not named are NULL; before takes from after what it does
not name. Further keys: id, user (who wrote it), now, op, exact = true (the payload has no other members), null = ["member"], event,
endpoints, error = "text" (the rule fails). A case of a rule on schedule has after alone, one of a rule on message instead
message = { event = "stock.low", data = { qty = 3 } }, and rows behind its record under related.record. Rows under related go by field, by dotted path, or by model with their ids.`,
		Example: "  walhook rules test cases.toml\n  walhook rules test rules/*.toml --json\n  walhook rules test cases.toml --tap",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(cmd.CommandPath()+" --help", "%s needs a file of cases", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, files []string) error {
			var cases []ruleCase
			for _, file := range files {
				more, err := readCases(file)
				if err != nil {
					return err
				}
				cases = append(cases, more...)
			}
			return a.withWorkbench(cmd.Context(), func(w *workbench) error {
				results, err := w.runCases(cmd.Context(), cases)
				if err != nil {
					return err
				}
				switch {
				case asJSON:
					err = a.printJSON(results)
				case asTAP:
					err = a.terminal().tap(results)
				default:
					err = a.terminal().cases(results)
				}
				if err == nil && failedCases(results) > 0 {
					return errQuiet(exitFailed)
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&asTAP, "tap", false, "print TAP, the Test Anything Protocol, for test runners")
	c.MarkFlagsMutuallyExclusive("json", "tap")
	return c
}

func (w *workbench) runCases(ctx context.Context, cases []ruleCase) ([]*caseResult, error) {
	runner := &caseRunner{workbench: w, sets: map[string]*rules.Set{}}
	results := []*caseResult{}
	for i := range cases {
		r, err := runner.run(ctx, &cases[i])
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

func failedCases(results []*caseResult) (n int) {
	for _, r := range results {
		if !r.OK {
			n++
		}
	}
	return n
}

// cases prints results for people: what failed with every difference, and a count.
func (t *terminal) cases(results []*caseResult) error {
	var b strings.Builder
	for _, r := range results {
		if r.OK {
			fmt.Fprintf(&b, "%s    %s\n", t.paint(green, "ok"), r.Name)
			continue
		}
		fmt.Fprintf(&b, "%s  %s  %s\n", t.paint(red, "FAIL"), r.Name, t.paint(dim, fmt.Sprintf("(%s:%d, rule %s)", r.File, r.Line, r.Rule)))
		for _, p := range r.Problems {
			fmt.Fprintf(&b, "      %s\n", p)
		}
	}
	failed := failedCases(results)
	if failed == 0 {
		fmt.Fprintf(&b, "%s\n", t.paint(green, plural(len(results), "case")+", all as they should be"))
	} else {
		fmt.Fprintf(&b, "%s\n", t.paint(red, fmt.Sprintf("%d of %s failed", failed, plural(len(results), "case"))))
	}
	return t.say(strings.TrimRight(b.String(), "\n"))
}

// tap prints results for test runners (testanything.org, version 13).
func (t *terminal) tap(results []*caseResult) error {
	var b strings.Builder
	fmt.Fprintf(&b, "TAP version 13\n1..%d\n", len(results))
	for i, r := range results {
		word := "ok"
		if !r.OK {
			word = "not ok"
		}
		fmt.Fprintf(&b, "%s %d - %s\n", word, i+1, strings.ReplaceAll(plainLine(r.Name), "#", `\#`))
		for _, p := range r.Problems {
			fmt.Fprintf(&b, "# %s\n", plainLine(p))
		}
	}
	return t.say(strings.TrimRight(b.String(), "\n"))
}
