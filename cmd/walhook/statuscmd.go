package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"walhook/state"
	"walhook/status"
)

func (a *app) statusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Tell how walhook is doing",
		Long: `status asks the running walhook (http.listen). When none answers, it reads the state database itself and says
so: position, queue and counters are then as last committed, and nothing is known of the stream. It
ends with status 0 when a process answered and is ready, with 3 when neither a process nor the state can be asked,
and with 1 otherwise.`,
		Example: "  walhook status\n  walhook status --json | jq .position.lag_seconds",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			d, err := cfg.ask(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(d)
			} else {
				err = printStatus(a.stdout, d, cfg.listenAddress())
			}
			if err == nil && !d.Ready {
				return errQuiet(exitFailed)
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, as /status answers it")
	return c
}

// ask gets the document from the running process, or else makes one from the state.
func (c *Config) ask(ctx context.Context) (*status.Document, error) {
	d, asked, err := c.askProcess(ctx)
	if err == nil || asked {
		return d, err
	}
	db, openErr := state.Open(ctx, c.state(currentBuild().Version))
	if openErr != nil {
		return nil, errors.Join(environmentError(fmt.Errorf("no walhook answers: %w", err), "walhook run"), environmentError(openErr, ""))
	}
	defer closeState(db)
	if err := db.Check(ctx); err != nil {
		return nil, environmentError(err, "")
	}
	position, err := db.Position(ctx)
	if err != nil {
		return nil, environmentError(err, "")
	}
	endpoints, err := db.Endpoints(ctx)
	if err != nil {
		return nil, environmentError(err, "")
	}
	rules, err := db.Rules(ctx)
	if err != nil {
		return nil, environmentError(err, "")
	}
	reserved, err := db.Reservations(ctx)
	if err != nil {
		return nil, environmentError(err, "")
	}
	images, err := db.ImageStates(ctx)
	if err != nil {
		return nil, environmentError(err, "")
	}
	doc := status.Offline(time.Now(), c.infoOf(currentBuild().Version, time.Now()), endpoints, rules, position)
	for i := range reserved {
		if reserved[i].Made() {
			doc.Reserved = append(doc.Reserved, reservedOf(&reserved[i]))
		}
	}
	if b, bound, err := db.Bound(ctx); err == nil && bound {
		doc.SetSlot(c.lookAtSlot(ctx, db, b))
	}
	doc.Images = images
	return &doc, nil
}

// askProcess asks the running process. asked is false when nobody answered at all.
func (c *Config) askProcess(ctx context.Context) (d *status.Document, asked bool, err error) {
	cfg := c.status().WithDefaults()
	if cfg.Off() {
		return nil, false, errors.New("http.listen is off")
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	address := dialAddress(cfg.Listen)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/status", nil)
	if err != nil {
		return nil, false, fmt.Errorf("ask %s: %w", address, err)
	}
	if !cfg.Token.IsZero() {
		request.Header.Set("Authorization", cfg.Token.Header())
	}
	// No proxy: the process runs on this machine.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, false, fmt.Errorf("ask %s: %w", address, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return nil, true, fmt.Errorf("ask %s: %w", address, err)
	}
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return nil, true, &failure{err: fmt.Errorf("the process at %s refuses the token", address), code: exitFailed, hint: "http.token must be the one that it was started with; if it was changed in this file, walhook reload --pid PID and a restart"}
	default:
		return nil, true, &failure{err: fmt.Errorf("%s answers %s: it may not be walhook", address, response.Status), code: exitFailed, hint: "see what listens on http.listen"}
	}
	d = &status.Document{}
	if err := json.Unmarshal(body, d); err != nil {
		return nil, true, fmt.Errorf("%s answers no status: %w", address, err)
	}
	return d, true, nil
}

// dialAddress turns an address to listen on into one to connect to.
func dialAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// printStatus writes the document for people. asked is where a running process would have answered, "" for nowhere.
func printStatus(w io.Writer, d *status.Document, asked string) error {
	var b strings.Builder
	switch {
	case !d.Live:
		b.WriteString(offlineLine(d, asked) + "\n")
	case d.Ready:
		fmt.Fprintf(&b, "ready  walhook %s on %s, up %s\n", d.Process.Version, d.Process.Host, status.Age(seconds(d.Process.Uptime)))
	default:
		fmt.Fprintf(&b, "not ready  walhook %s on %s, up %s\n", d.Process.Version, d.Process.Host, status.Age(seconds(d.Process.Uptime)))
		for _, reason := range d.Reasons {
			fmt.Fprintf(&b, "  %s\n", reason)
		}
	}
	facts := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	if d.Live && !d.State.At.IsZero() && d.State.Error != "" {
		fmt.Fprintf(facts, "figures\tof position, queue, endpoints and rules: as of %s%s\n", d.State.At.Format("15:04:05 UTC"), ago(", ", d.At, d.State.At))
	}
	if role := roleLine(d); role != "" {
		fmt.Fprintf(facts, "role\t%s\n", role)
	}
	if d.Source.Database == "" && !d.Live {
		fmt.Fprintln(facts, "source\tnone yet: nothing is set up (walhook setup)")
	} else {
		fmt.Fprintf(facts, "source\tdatabase %s, slot %s\n", d.Source.Database, d.Source.Slot)
		fmt.Fprintf(facts, "position\t%s%s\n", d.Position.LSN, ago(", written ", d.At, d.Position.UpdatedAt))
	}
	if d.Live {
		fmt.Fprintf(facts, "lag\t%s, %s\n", status.Bytes(d.Position.LagBytes), status.Age(seconds(d.Position.LagSeconds)))
	}
	for _, alarm := range d.Source.Alarms {
		since := ""
		if d.Live { // else it was looked at just now
			since = ago("; noticed ", d.At, alarm.Since)
		}
		fmt.Fprintf(facts, "alarm\t%s%s\n", alarm.Message, since)
		if alarm.Hint != "" {
			fmt.Fprintf(facts, "\t%s\n", strings.ReplaceAll(alarm.Hint, "\n", "\n\t"))
		}
	}
	if d.Live && d.Source.LastError != "" && !d.Source.Connected {
		fmt.Fprintf(facts, "stream\t%s%s\n", d.Source.LastError, ago(", ", d.At, d.Source.LastErrorAt))
	}
	for _, line := range slotLines(d) {
		fmt.Fprintln(facts, line)
	}
	if d.State.Error != "" {
		fmt.Fprintf(facts, "state\t%s\n", d.State.Error)
	}
	for _, line := range noticeLines(d) {
		fmt.Fprintf(facts, "%s\n", line)
	}
	for _, line := range append(d.ResyncLines(), d.ImageLines()...) {
		fmt.Fprintln(facts, line)
	}
	for _, line := range queueLines(d) {
		fmt.Fprintf(facts, "queue\t%s\n", line)
	}
	for _, line := range reloadLines(d) {
		fmt.Fprintf(facts, "config\t%s\n", line)
	}
	if err := facts.Flush(); err != nil {
		return err
	}
	b.WriteByte('\n')
	table := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	var held []string
	fmt.Fprintln(table, "ENDPOINT\tPENDING\tRETRYING\tDELIVERED\tDEAD\tOLDEST\tLAST ERROR")
	for _, e := range d.Endpoints {
		name := e.Name
		switch {
		case e.Paused:
			name += " (paused)"
		case e.Disabled:
			name += " (disabled)"
		case e.Resumed():
			name += " (resumed)"
		case e.Breaker == status.BreakerOpen:
			name += " (failing)"
		case !e.Configured:
			name += " (not configured)"
		case e.Inactive:
			name += " (not active)"
		}
		oldest := "-"
		if !e.OldestPending.IsZero() {
			oldest = status.Age(seconds(e.OldestPendingSeconds))
		}
		last := e.LastError + ago(", ", d.At, e.LastFailure)
		if !e.Since().IsZero() {
			last = e.Condition()
		}
		if text := heldText(&e.EndpointState); text != "" {
			held = append(held, "endpoint "+e.Name+": "+text)
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%s\t%s\n", name, e.Pending, e.Retrying, e.Delivered, e.Dead, oldest, orDash(last))
	}
	fmt.Fprintln(table)
	fmt.Fprintln(table, "RULE\tMATCHED\tPARKED\tLAST MATCH\tLAST ERROR")
	for _, r := range d.Rules {
		name := r.Name
		switch {
		case !r.Configured:
			name += " (not configured)"
		case !r.Active:
			name += " (inactive)"
		case r.Problem != "":
			name += " (does not fit)"
			held = append(held, "rule does not fit the database any more, and parks what it matches: "+r.Problem)
		case r.Test:
			name += " (test mode)"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\n", name, matchedText(&r), r.Parked, orDash(ago("", d.At, r.LastMatch)), orDash(ruleError(d, &r)))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if err := printSchedules(&b, d); err != nil {
		return err
	}
	for i, text := range held {
		if i == 0 {
			b.WriteByte('\n')
		}
		b.WriteString(text + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// heldText says that lanes wait behind dead letters, and what lets them go on; "" when none does.
func heldText(e *status.EndpointState) string {
	if e.HeldLanes == 0 {
		return ""
	}
	verb := "wait"
	if e.HeldLanes == 1 {
		verb = "waits"
	}
	return fmt.Sprintf("held: %s %s behind dead letters: walhook deliveries retry --endpoint %s, or discard", plural(int(e.HeldLanes), "lane"), verb, e.Name)
}

// offlineLine says what is known of a process that does not answer.
func offlineLine(d *status.Document, asked string) string {
	nobody := "nobody can be asked (http.listen is off)"
	if asked != "" {
		nobody = "nobody answers at " + asked
	}
	if r := d.Reader; r != nil {
		return fmt.Sprintf("%s; according to the state, process %d on %s runs. This is the state database as last committed", nobody, r.PID, r.Host)
	}
	return "not running: " + nobody + ", and this is the state database as last committed"
}

// listenAddress is where a running process would answer; "" when it does not listen.
func (c *Config) listenAddress() string {
	cfg := c.status().WithDefaults()
	if cfg.Off() {
		return ""
	}
	return dialAddress(cfg.Listen)
}

// matchedText is how many events have matched, and what became of those that were not sent at once.
func matchedText(r *status.Rule) string {
	text := strconv.FormatInt(r.Matched, 10)
	if r.Waiting > 0 {
		text += fmt.Sprintf(", %d waiting", r.Waiting)
	}
	if r.Sampled > 0 {
		text += fmt.Sprintf(", %d sampled out", r.Sampled)
	}
	if r.Ignored > 0 {
		text += fmt.Sprintf(", %d by ignored users", r.Ignored)
	}
	if r.Dropped > 0 {
		text += fmt.Sprintf(", %d of upgrades dropped", r.Dropped)
	}
	return text
}

// ruleError is the last error of a rule while an event is parked by it.
func ruleError(d *status.Document, r *status.Rule) string {
	if r.Parked == 0 || r.LastError == "" {
		return ""
	}
	return r.LastError + ago(", ", d.At, r.LastParked)
}

// roleLine says whether the process reads the slot, and who does otherwise.
func roleLine(d *status.Document) string {
	reader := "nobody reads the slot"
	if r := d.Reader; r != nil {
		reader = fmt.Sprintf("process %d on %s reads the slot", r.PID, r.Host)
	}
	switch {
	case !d.Live && d.Reader == nil:
		return ""
	case !d.Live:
		return reader
	case d.Process.Role == status.RoleReader:
		return d.Process.Role
	}
	return d.Process.Role + "; " + reader
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// ago writes how long before now a time was, after a prefix; "" for the zero time.
func ago(prefix string, now, then time.Time) string {
	if then.IsZero() {
		return ""
	}
	return prefix + status.Age(max(now.Sub(then), 0)) + " ago"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
