package delivery

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
)

// A receiver that sends two answers to a request answers one that it has not seen with the second, if that is sent before the connection is given up. Such a
// request is sent again.
func TestAnswersThatWereThereBefore(t *testing.T) {
	log.SetOutput(io.Discard) // net/http tells of each connection that it drops
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	var mu sync.Mutex
	seen := map[string]bool{}
	url := rawServer(t, func(_ int, c *net.TCPConn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			mu.Lock()
			seen[req.Header.Get("Webhook-Id")] = true
			mu.Unlock()
			const answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
			_, _ = io.WriteString(c, answer+answer)
		}
	})
	s := newSender(t, map[string]EndpointConfig{"erp": {URL: URL(url), Concurrency: 4}})
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for n := range 3000 {
				d := queued("erp", fmt.Sprint(worker), n)
				d.ID = fmt.Sprintf("msg_%d_%d", worker, n)
				a := s.Send(t.Context(), d)
				mu.Lock()
				if delivered := a.Status == 200 && a.Error == ""; !delivered || !seen[d.ID] {
					t.Errorf("%s: %d %s, received %t", d.ID, a.Status, a.Error, seen[d.ID])
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}
