package delivery

import (
	"fmt"
	"net/http"
	"time"
)

// BatchConfig asks for requests that carry several deliveries as one JSON array (E7). The zero value asks for none: every
// delivery is a request of its own.
type BatchConfig struct {
	Size  int      `toml:"size"`  // deliveries in one request at most; an array even when there is one; default none, at most 1000
	Wait  Duration `toml:"wait"`  // how long a delivery may wait for others; default "0s": what is there goes; at most 5m
	Bytes Size     `toml:"bytes"` // of one request's body, which a single delivery may exceed; default 256KiB, at most max_body
}

const (
	maxBatchSize     = 1000
	maxBatchWait     = 5 * time.Minute
	defaultBatchBody = 256 << 10
)

// On says whether deliveries are batched.
func (c *BatchConfig) On() bool { return c.Size > 0 }

// perLane is how many deliveries of a lane are asked of the store at once. One lane alone has to fill a batch where everything is
// one lane. The caller holds the mutex.
func (o *outlet) perLane(usual int) int {
	if o.cfg.Ordering == OrderEndpoint {
		return max(usual, min(o.cfg.Batch.Size, o.room()))
	}
	return usual
}

// mostPerLane is the most that any of the endpoints asks for after a Finish.
func (e *Engine) mostPerLane(endpoints map[string]int) int {
	most := finishPerLane
	for name := range endpoints {
		if o := e.outlets[name]; o != nil {
			o.mu.Lock()
			most = max(most, o.perLane(finishPerLane))
			o.mu.Unlock()
		}
	}
	return most
}

// withDefaults fills what is zero.
func (c BatchConfig) withDefaults(maxBody Size) BatchConfig {
	if c.On() {
		fill(&c.Bytes, min(defaultBatchBody, max(maxBody, 1)))
	}
	return c
}

func (c *EndpointConfig) validateBatch(p *problems) {
	b := &c.Batch
	if !b.On() {
		if b.Size < 0 {
			p.add("batch.size", fmt.Sprintf("%d is out of range", b.Size), fmt.Sprintf("use 1 to %d, or leave batch out", maxBatchSize))
		} else if b.Wait != 0 || b.Bytes != 0 {
			p.add("batch.size", "a batch needs a size", `batch = { size = 100, wait = "2s" }`)
		}
		return
	}
	if b.Size > maxBatchSize {
		p.add("batch.size", fmt.Sprintf("%d is out of range", b.Size), fmt.Sprintf("use 1 to %d", maxBatchSize))
	}
	if b.Wait < 0 || b.Wait.Std() > maxBatchWait {
		p.add("batch.wait", fmt.Sprintf("%s is out of range", b.Wait), fmt.Sprintf("use 0s to %s", Duration(maxBatchWait)))
	}
	if c.MaxBody >= 0 && b.Bytes > c.MaxBody {
		p.add("batch.bytes", fmt.Sprintf("%s is more than max_body, %s", b.Bytes, c.MaxBody), "lower batch.bytes or raise max_body")
	}
	if c.Method == http.MethodGet {
		p.add("batch", "a GET request has no body to carry a batch", `use method = "POST"`)
	}
}
