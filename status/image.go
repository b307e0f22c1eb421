package status

import (
	"fmt"
	"time"
)

// ImagesState is what is kept of rows: values before a change are taken from there for the tables in [images].
type ImagesState struct {
	Bytes  int64        `json:"bytes"` // on disk, with the index
	Tables []ImageState `json:"tables"`
}

// ImageState is how far the images of one table have come.
type ImageState struct {
	Schema string    `json:"schema"`
	Table  string    `json:"table"`
	Since  time.Time `json:"since"`           // when they were begun, or begun anew
	Filled time.Time `json:"filled,omitzero"` // since when every row has one; zero while rows that were not written since Since may have none
	Rows   int64     `json:"rows,omitempty"`  // that were looked at so far, while it is filled
	Total  int64     `json:"total,omitempty"` // of how many; 0 when that is not known
	Job    string    `json:"job,omitempty"`   // state of the job that fills it
	Waits  string    `json:"waits,omitempty"` // what that waits for, or why it failed
}

// Progress says how far the filling is, for people; "" when there is nothing to be filled.
func (s *ImageState) Progress() string {
	if !s.Filled.IsZero() {
		return ""
	}
	text := fmt.Sprintf("%s.%s: %d rows so far", s.Schema, s.Table, s.Rows)
	if s.Total > 0 {
		text = fmt.Sprintf("%s.%s: %d of about %d rows so far", s.Schema, s.Table, s.Rows, s.Total)
	}
	if s.Waits != "" {
		text += " (" + s.Waits + ")"
	}
	return text
}

// ImageLines tell how images stand, in columns for people.
func (d *Document) ImageLines() []string {
	s := d.Images
	if s == nil {
		return nil
	}
	tables := "1 table"
	if n := len(s.Tables); n != 1 {
		tables = fmt.Sprintf("%d tables", n)
	}
	lines := []string{fmt.Sprintf("images\trows of %s, %s", tables, Bytes(s.Bytes))}
	for i := range s.Tables {
		if text := s.Tables[i].Progress(); text != "" {
			lines = append(lines, "\tbeing filled: "+text)
		}
	}
	return lines
}
