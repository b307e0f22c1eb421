package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"walhook/state"
)

// On a terminal one line counts up and is cleared at the end; elsewhere nothing is written.
func TestProgress(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out, bulkResult{Selected: 100_000, More: true}, "queued again")
	p.show(1000)
	p.end()
	if out.Len() != 0 {
		t.Errorf("no terminal, and yet %q", out.String())
	}
	p.w = &out
	p.show(1000)
	p.show(25_000)
	p.end()
	lines := strings.Split(out.String(), "\r")
	want := []string{"", "1,000 of more than 100,000 queued again", "25,000 of more than 100,000 queued again", strings.Repeat(" ", 40), ""}
	if strings.Join(lines, "|") != strings.Join(want, "|") {
		t.Errorf("%q", lines)
	}
}

// However a bulk command ends early, it says how far it came and how to go on.
func TestBulkStopped(t *testing.T) {
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		out  bulkResult
		err  error
		want []string
	}{
		{"interrupted", interrupted, bulkResult{Done: 12_000}, context.Canceled, []string{"error: interrupted: 12,000 queued again", "hint: the same command does the rest"}},
		{"interrupted replay", interrupted, bulkResult{Done: 1000, After: 7, Before: 99}, context.Canceled, []string{"hint: to do the rest, add: --after 7 --before 99"}},
		{"full", t.Context(), bulkResult{Done: 800}, &state.FullError{Endpoint: "erp"}, []string{`error: the queue of endpoint "erp" is 80 % full`, "endpoints.erp.queue", "error: 800 queued again before that"}},
		{"at once", t.Context(), bulkResult{}, errors.New("no disk"), []string{"error: no disk"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			b := &bulk{}
			err := b.stopped(c.ctx, &app{stdout: &out, stderr: &out}, &c.out, "queued again", c.err)
			printError(&out, err)
			if exitCode(err) == exitOK {
				t.Error("status 0")
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in %s", want, out.String())
				}
			}
		})
	}
}
