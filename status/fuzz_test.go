package status

import "testing"

// Whatever a caller makes of a cursor, it is the place that it was made for, or refused.
func FuzzCursor(f *testing.F) {
	f.Add("deliveries", cursorOf("deliveries", 17, 4))
	f.Add("retry-parked", "MSBkZWxpdmVyaWVzIDQgMA")
	f.Add("parked", "1 parked 5 0")
	f.Fuzz(func(t *testing.T, kind, text string) {
		before, after, err := parseCursor(kind, text)
		if text == "" || err != nil {
			if before != 0 || after != 0 || (text == "") != (err == nil) {
				t.Errorf("%d %d %v", before, after, err)
			}
			return
		}
		b, a, err := parseCursor(kind, cursorOf(kind, before, after))
		if before <= 0 || after < 0 || b != before || a != after || err != nil {
			t.Errorf("%d %d becomes %d %d, %v", before, after, b, a, err)
		}
	})
}
