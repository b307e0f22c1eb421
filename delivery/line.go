package delivery

// line is where the lanes of an outlet wait for a worker: the highest priority first, of one priority whichever came first. Each fairTurn-th
// to leave is the one that has waited longest of all, so that a lane of low priority comes to its turn however many others come.
type line struct {
	of   [3]fifo[place] // by priority, the highest first
	n    int
	came uint64 // lanes, ever
	left uint64
}

// place is a lane's in the line. It is void when the lane has left, or has been raised and left from there: its turn is another then, or none.
type place struct {
	lane *heldLane
	turn uint64
}

// fairTurn is which of the lanes that leave is the one that has waited longest.
const fairTurn = 8

// class is where a priority stands in line.of.
func class(p Priority) int { return int(PriorityHigh - p) }

func (l *line) len() int { return l.n }

// high is how many lanes of high priority wait, roughly.
func (l *line) high() int { return l.of[class(PriorityHigh)].len() }

// push puts a lane, which is not in the line, behind those of its priority.
func (l *line) push(lane *heldLane) {
	l.came++
	lane.turn = l.came
	l.of[class(lane.priority)].push(place{lane, lane.turn})
	l.n++
}

// raise lets a lane go on with a higher priority, in the line or not.
func (l *line) raise(lane *heldLane, p Priority) {
	if p <= lane.priority {
		return
	}
	lane.priority = p
	if lane.turn != 0 {
		l.of[class(p)].push(place{lane, lane.turn}) // its earlier place is void once it has left from this one
	}
}

// pop removes the lane whose turn it is.
func (l *line) pop() (*heldLane, bool) {
	if l.n == 0 {
		return nil, false
	}
	l.left++
	fair := l.left%fairTurn == 0
	var from *fifo[place]
	var turn uint64
	for i := range l.of {
		q := &l.of[i]
		p, ok := q.first()
		for ok && p.lane.turn != p.turn {
			q.pop()
			p, ok = q.first()
		}
		if ok && (from == nil || fair && p.turn < turn) {
			from, turn = q, p.turn
		}
	}
	p, _ := from.pop()
	p.lane.turn = 0
	l.n--
	return p.lane, true
}
