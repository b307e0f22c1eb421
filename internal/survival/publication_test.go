package survival

import (
	"fmt"
	"testing"

	"walhook/internal/pgtest"
)

// What somebody does to the publication is noticed: the stream itself says nothing of a table that is not published, nor of what the server leaves
// out when the publication is made anew beside open transactions.
func TestPublicationChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{config: `guard = { max_retained = "10GiB", action = "stop", after = "2s" }`}) // a guard looks more often
	name := w.text(w.super, "SELECT quote_ident(pubname) FROM pg_publication")
	alarm := func() string {
		for _, a := range w.status().Source.Alarms {
			if a.Name == "publication" {
				return a.Message
			}
		}
		return ""
	}
	if got := alarm(); got != "" {
		t.Errorf("before anything happened: %s", got)
	}
	w.arrives()
	w.writer.stop()
	before := w.writer.committed()
	w.wait("all events", func() bool { return w.receiver.missing(before) == "" })

	pgtest.Exec(t, w.super, fmt.Sprintf("ALTER PUBLICATION %s DROP TABLE doc", name))
	w.wait("the alarm", func() bool {
		return contains(alarm(), "not in the publication since 20") && contains(alarm(), ": public.doc; their changes are not streamed")
	})
	if code, body := w.page("/metrics"); code != 200 || !contains(body, `walhook_slot_alarm{alarm="publication"} 1`) {
		t.Errorf("/metrics: %d\n%s", code, body)
	}
	if out, _ := w.in.Walhook("status"); !contains(out, "public.doc; their changes are not streamed") || !contains(out, "walhook resync --since") {
		t.Errorf("walhook status:\n%s", out)
	}
	pgtest.Exec(t, w.super, fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE ONLY doc", name))
	w.wait("the alarm to tell what was", func() bool { return contains(alarm(), "public.doc; changes of then were not streamed") })
	pgtest.Exec(t, w.super, fmt.Sprintf("BEGIN; DROP PUBLICATION %[1]s; CREATE PUBLICATION %[1]s FOR TABLE ONLY event, ONLY doc; COMMIT", name))
	w.wait("the alarm of a publication made anew", func() bool { return contains(alarm(), "the publication was dropped and made anew between 20") })

	remembered := "SELECT count(*) FROM walhook.source WHERE publication ->> 'oid' = '" + w.text(w.super, "SELECT oid::text FROM pg_publication") + "'"
	w.wait("the state to hold what was found", func() bool { return w.number(w.state, remembered) == 1 })
	w.stop()
	w.launch()
	w.ready()
	w.wait("a look", func() bool { _, body := w.page("/metrics"); return contains(body, "walhook_slot_up 1\n") })
	if got := alarm(); got != "" {
		t.Errorf("a process that found all as it was left: %s", got)
	}
	w.stop()
	pgtest.Exec(t, w.super, fmt.Sprintf("BEGIN; DROP PUBLICATION %[1]s; CREATE PUBLICATION %[1]s FOR TABLE ONLY event, ONLY doc; COMMIT", name))
	w.launch()
	w.wait("the alarm of a publication made anew while walhook was away", func() bool {
		return contains(alarm(), "the publication was dropped and made anew since walhook was here last: ")
	})
	w.said(`"alarm":"publication"`, "the server may have left out changes of transactions that were open then")
	w.writer = startWriter(t, w.super)
	w.arrives()
	w.writer.stop()
	w.stop()
}
