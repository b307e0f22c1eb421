package delivery

import "walhook/rules"

// Priority is [rules.Priority]: which lanes of an endpoint go first. The zero value is PriorityNormal.
type Priority = rules.Priority

// The priorities.
const (
	PriorityLow    = rules.Low
	PriorityNormal = rules.Normal
	PriorityHigh   = rules.High
)
