package delivery

// intake reserves the engine's memory for the lanes of one Enqueue. Its take runs inside
// the store's transaction; settle must follow, whatever became of it.
type intake struct {
	engine  *Engine
	taken   map[string]int  // deliveries promised room, by endpoint
	refused map[string]bool // endpoints that lanes were left to the store of
}

func newIntake(e *Engine) *intake {
	return &intake{engine: e, taken: map[string]int{}, refused: map[string]bool{}}
}

// take says whether a fresh lane fits into memory, and keeps the room for it.
func (i *intake) take(endpoint string, deliveries int) bool {
	if i.engine == nil {
		return false
	}
	o := i.engine.outlets[endpoint]
	if o == nil {
		return false
	}
	if !o.reserve(deliveries) {
		i.refused[endpoint] = true
		return false
	}
	i.taken[endpoint] += deliveries
	return true
}

// settle hands over what the store acquired, and returns the room that was not used.
func (i *intake) settle(lanes []Lane) {
	if i.engine == nil {
		return
	}
	for _, l := range lanes {
		n := min(len(l.Deliveries), i.taken[l.Endpoint])
		i.taken[l.Endpoint] -= n
		if o := i.engine.outlets[l.Endpoint]; o != nil {
			o.add(l, n)
		}
	}
	for endpoint, n := range i.taken {
		i.engine.outlets[endpoint].unreserve(n)
	}
	for endpoint := range i.refused {
		i.engine.outlets[endpoint].nudge() // now they can be claimed
	}
}

// reserve keeps room for a fresh lane. While the store has lanes that wait for
// room, fresh ones get only half of it: else they would always come first.
func (o *outlet) reserve(n int) bool {
	ok := o.engine.maySend()
	o.mu.Lock()
	defer o.mu.Unlock()
	limit := o.room()
	if o.backlog {
		limit -= o.maxDels / 2
	}
	if !ok || o.closed || o.state != enabled || !o.cfg.IsActive() || n > limit {
		o.refused++
		o.backlog = true
		return false
	}
	o.reserved += n
	return true
}

func (o *outlet) unreserve(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reserved -= n
}
