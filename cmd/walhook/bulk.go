package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"walhook/state"
)

// bulk is what commands have in common that work on many deliveries: they select by ids or by flags, count, ask, work in
// bounded transactions, and can be interrupted and begun again.
type bulk struct {
	flags   filterFlags
	all     bool
	yes     bool
	preview bool
	asJSON  bool
}

const bulkHelp = `

By id it acts at once. A selection by flags is counted first: on a terminal it asks, elsewhere it needs --yes. It works in
small transactions: when it is interrupted, what is done stays done, and the same command does the rest.`

// previewLimit is how far a selection is counted.
const previewLimit = 100_000

// bulkResult is what became of the selection, as --json prints it.
type bulkResult struct {
	Selected int64 `json:"selected"`          // how many it would be, or were
	More     bool  `json:"more,omitempty"`    // and more: counting ends somewhere
	Done     int64 `json:"done"`              // queued again or discarded
	Failed   int64 `json:"failed,omitempty"`  // parked events that failed again, and stay parked
	Left     int64 `json:"left,omitempty"`    // not discarded, as a process has them in hand
	Preview  bool  `json:"preview,omitempty"` // nothing was done
	After    int64 `json:"after,omitempty"`   // after an interruption of replay: go on with --after and --before
	Before   int64 `json:"before,omitempty"`
}

func (b *bulk) register(c *cobra.Command) {
	b.flags.register(c)
	f := c.Flags()
	f.BoolVar(&b.all, "all", false, "all of them")
	f.BoolVar(&b.yes, "yes", false, "do it without asking")
	f.BoolVar(&b.preview, "preview", false, "only count what is selected")
	f.IntVar(&b.flags.Limit, "limit", 0, "at most so many, oldest first (default no limit)")
	f.BoolVar(&b.asJSON, "json", false, "print JSON")
}

// filter refuses to select everything by accident.
func (b *bulk) filter(cmd *cobra.Command, ids []string) (state.Filter, error) {
	if len(ids) == 0 && b.flags.Empty() && !b.all {
		return state.Filter{}, usagef(cmd.CommandPath()+" --help", "name ids, select by flags, or say --all")
	}
	if b.yes && b.preview {
		return state.Filter{}, usagef("", "--yes and --preview contradict each other")
	}
	b.flags.IDs = ids
	f, err := filterOf(b.flags.Selection, time.Now())
	f.Oldest = f.Limit > 0
	return f, err
}

// run counts, asks, and does what was meant. verb is what is done to things: "queued again".
func (b *bulk) run(ctx context.Context, a *app, db *state.DB, verb string, jobs ...job) error {
	out := bulkResult{}
	counts := make([]int64, len(jobs))
	byID := len(jobs) > 1 || b.flags.Empty() && !b.all
	noun := jobs[0].noun
	for i, j := range jobs {
		n, err := j.count(ctx, previewLimit+1)
		if err != nil {
			return environmentError(err, "")
		}
		if n > 0 && out.Selected == 0 {
			noun = j.noun
		}
		out.More = out.More || n > previewLimit
		counts[i] = min(n, previewLimit)
		out.Selected += counts[i]
	}
	if limit := int64(b.flags.Limit); limit > 0 && limit <= out.Selected {
		out.Selected, out.More = limit, false
	}
	if out.Selected == 0 {
		if err := b.flags.warnUnknown(ctx, a, db); err != nil {
			return err
		}
		return b.none(a, byID, jobs)
	}
	how := plural(int(out.Selected), noun)
	if out.More {
		how = "more than " + how
	}
	if b.preview || !byID && !b.yes {
		switch act, err := b.ask(ctx, a, how, verb, &out); {
		case err != nil || !act:
			return err
		}
	}
	sends := false
	for i, j := range jobs {
		if counts[i] == 0 {
			continue
		}
		sends = sends || j.sends
		p := newProgress(a.stderr, out, verb)
		d, err := j.run(ctx, p.show)
		p.end()
		out.Done, out.Failed, out.Left = out.Done+d.done, out.Failed+d.failed, out.Left+d.left
		if err != nil {
			if j.rests {
				out.After, out.Before = d.rest.After, d.rest.Before
			}
			return b.stopped(ctx, a, &out, verb, err)
		}
	}
	if err := b.report(a, &out, noun, verb); err != nil {
		return err
	}
	if sends && out.Done > 0 && !b.asJSON {
		if position, err := db.Position(ctx); err == nil && position.Processes == 0 {
			fmt.Fprintln(a.stderr, "no walhook is running: they are sent when one does (walhook run)")
		}
	}
	if out.Left > 0 && !b.asJSON {
		fmt.Fprintf(a.stderr, "%s left: a walhook process has them in hand, or has just ended them. walhook endpoints pause NAME makes it give them back, then do the same again\n", grouped(out.Left))
	}
	if out.Failed+out.Left > 0 {
		return errQuiet(exitFailed) // the report says how many
	}
	return nil
}

// none says that nothing was selected. Of ids that is a mistake.
func (b *bulk) none(a *app, byID bool, jobs []job) error {
	var nouns []string
	for _, j := range jobs {
		nouns = append(nouns, j.noun)
	}
	switch noun := strings.Join(nouns, " or a "); {
	case byID:
		return &failure{err: fmt.Errorf("none of these is a %s", noun), code: exitFailed, hint: "walhook deliveries list; walhook deliveries list --state parked; walhook deliveries show ID"}
	case b.asJSON:
		return a.printJSON(bulkResult{})
	default:
		_, err := fmt.Fprintf(a.stdout, "no %s is selected\n", noun)
		return err
	}
}

// ask shows how many are selected and finds out whether that is meant.
func (b *bulk) ask(ctx context.Context, a *app, how, verb string, out *bulkResult) (act bool, err error) {
	if !b.preview && !b.asJSON && isTerminal(a.stdin) {
		fmt.Fprintf(a.stderr, "%s would be %s. Go on? [y/N] ", how, verb)
		answer := make(chan string, 1)
		go func() { // stays behind when it is interrupted: the process ends then
			line, err := bufio.NewReader(a.stdin).ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				line = "no"
			}
			answer <- strings.ToLower(strings.TrimSpace(line))
		}()
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case text := <-answer:
			if text == "y" || text == "yes" {
				return true, nil
			}
		}
		_, err = fmt.Fprintln(a.stdout, "nothing was done")
		return false, err
	}
	out.Preview = true
	if b.asJSON {
		err = a.printJSON(out)
	} else {
		_, err = fmt.Fprintf(a.stdout, "%s would be %s\n", how, verb)
	}
	if err != nil || b.preview {
		return false, err
	}
	return false, usagef("add --yes to do it, or --preview to count only", "a selection by flags is not acted on without confirmation")
}

// stopped says how far it came.
func (b *bulk) stopped(ctx context.Context, a *app, out *bulkResult, verb string, err error) error {
	if b.asJSON {
		if err := a.printJSON(out); err != nil {
			return err
		}
	}
	rest := "the same command does the rest"
	if out.Before > 0 {
		rest = fmt.Sprintf("to do the rest, add: --after %d --before %d", out.After, out.Before)
	}
	if ctx.Err() != nil {
		return &failure{err: fmt.Errorf("interrupted: %s %s, the rest is as it was", grouped(out.Done), verb), code: exitFailed, hint: rest}
	}
	err = environmentError(err, "")
	if out.Done > 0 {
		err = errors.Join(err, &failure{err: fmt.Errorf("%s %s before that, the rest is as it was", grouped(out.Done), verb), code: exitFailed, hint: rest})
	}
	return err
}

func (b *bulk) report(a *app, out *bulkResult, noun, verb string) (err error) {
	switch {
	case b.asJSON:
		return a.printJSON(out)
	case out.Failed > 0:
		_, err = fmt.Fprintf(a.stdout, "%s %s; %d failed again and stay parked (walhook deliveries list --state parked)\n", plural(int(out.Done), noun), verb, out.Failed)
	default:
		_, err = fmt.Fprintf(a.stdout, "%s %s\n", plural(int(out.Done), noun), verb)
	}
	return err
}

// grouped writes a number with commas, for numbers that people compare while they change.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// progress shows on a terminal how far a command is; elsewhere it is silent.
type progress struct {
	w        io.Writer // nil when nobody looks
	of, verb string
	width    int // of what stands on the line
}

func newProgress(w io.Writer, out bulkResult, verb string) *progress {
	p := &progress{verb: verb, of: grouped(out.Selected)}
	if out.More {
		p.of = "more than " + p.of
	}
	if isTerminal(w) {
		p.w = w
	}
	return p
}

func (p *progress) show(done int64) {
	if p.w == nil {
		return
	}
	line := fmt.Sprintf("%s of %s %s", grouped(done), p.of, p.verb)
	fmt.Fprintf(p.w, "\r%-*s", p.width, line)
	p.width = len(line)
}

// end clears the line.
func (p *progress) end() {
	if p.w != nil && p.width > 0 {
		fmt.Fprintf(p.w, "\r%*s\r", p.width, "")
	}
}
