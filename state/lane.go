package state

import (
	"cmp"
	"slices"

	"walhook/cdc"
	"walhook/delivery"
)

// laneKey names a lane.
type laneKey struct{ endpoint, key string }

// compareLanes is the order in which lanes are locked: bytewise, as the columns' collation "C".
func compareLanes(a, b laneKey) int {
	return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.key, b.key))
}

// laneOf names a delivery's lane.
func laneOf(d *delivery.Delivery) laneKey { return laneKey{d.Endpoint, d.Lane} }

// splitKeys returns the columns of keys, for unnest. They are never nil, which would be SQL's NULL.
func splitKeys(keys []laneKey) (endpoints, names []string) {
	endpoints, names = make([]string, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		endpoints[i], names[i] = k.endpoint, k.key
	}
	return endpoints, names
}

// grouped are the deliveries of a batch by lane, the lanes in locking order.
type grouped struct {
	keys  []laneKey
	lanes map[laneKey][]*delivery.Delivery // in the batch's order
}

func groupByLane(deliveries []*delivery.Delivery) grouped {
	g := grouped{lanes: make(map[laneKey][]*delivery.Delivery, len(deliveries))}
	for _, d := range deliveries {
		k := laneOf(d)
		if _, ok := g.lanes[k]; !ok {
			g.keys = append(g.keys, k)
		}
		g.lanes[k] = append(g.lanes[k], d)
	}
	slices.SortFunc(g.keys, compareLanes)
	return g
}

// priority is a lane's: the highest of what comes into it. What is low in front of it must go first.
func (g *grouped) priority(k laneKey) delivery.Priority {
	highest := delivery.PriorityLow
	for _, d := range g.lanes[k] {
		highest = max(highest, d.Priority)
	}
	return highest
}

// priorities are the lanes' priorities, in locking order.
func (g *grouped) priorities() []int16 {
	list := make([]int16, len(g.keys))
	for i, k := range g.keys {
		list[i] = int16(g.priority(k))
	}
	return list
}

// parseLSN reads PostgreSQL's text form.
func parseLSN(s string) (cdc.LSN, error) {
	var lsn cdc.LSN
	err := lsn.Scan(s)
	return lsn, err
}
