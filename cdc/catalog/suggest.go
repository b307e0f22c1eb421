package catalog

import (
	"strings"
	"unicode/utf8"
)

// Suggest returns the candidate that name was most likely meant to be, or ""
// when nothing is near: one that differs in case only, in a few letters (more in longer names),
// or by an ending that Odoo's relations have ("partner" for "partner_id"). Of
// equally near ones the first by name wins, so that the answer does not depend on the order of candidates.
func Suggest(name string, candidates []string) string {
	if name == "" || len(name) > 200 {
		return ""
	}
	folded := []rune(strings.ToLower(name))
	limit := min(3, max(1, len(folded)/3))
	best, nearest := "", limit+1
	for _, c := range candidates {
		if c == "" || c == name || utf8.RuneCountInString(c) > len(folded)+limit+len("_ids") {
			continue
		}
		target := strings.ToLower(c)
		d := distance(folded, []rune(target), limit)
		if stem, ok := relationStem(target); ok && stem == string(folded) {
			d = min(d, 1)
		}
		if d < nearest || (d == nearest && d <= limit && (best == "" || c < best)) {
			best, nearest = c, d
		}
	}
	if nearest > limit {
		return ""
	}
	return best
}

// relationStem cuts the ending of a relational field off.
func relationStem(name string) (string, bool) {
	if stem, ok := strings.CutSuffix(name, "_ids"); ok {
		return stem, true
	}
	return strings.CutSuffix(name, "_id")
}

// distance counts the letters to insert, delete, replace or swap with their neighbour to make
// b of a (optimal string alignment). It gives up beyond limit and returns limit+1.
func distance(a, b []rune, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	// Three rows of the matrix: swaps look two rows back.
	rows := make([]int, 3*(len(b)+1))
	two, one, row := rows[:len(b)+1], rows[len(b)+1:2*(len(b)+1)], rows[2*(len(b)+1):]
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > limit {
			return limit + 1
		}
		two, one, row = one, row, two
	}
	return min(one[len(b)], limit+1)
}
