package status

import (
	"fmt"
	"time"
)

// ImagesState is what is kept of rows: values before a change are taken from there for the tables in [images].
type ImagesState struct {
	Bytes  int64        `json:"bytes"` // on disk, with the index
	Rows   int64        `json:"rows"`  // roughly: by the statistics of the table, which lag
	Tables []ImageState `json:"tables"`
	Counts *ImageCounts `json:"counts,omitempty"` // of the process that answers; nil when none does
}

// ImageCounts are what a process has done with images since it started.
type ImageCounts struct {
	Found   int64 `json:"found"`   // rows before a change that an image told of
	Missing int64 `json:"missing"` // rows before a change that had no image
	Written int64 `json:"written"` // images that were written or removed
	Filled  int64 `json:"filled"`  // rows that were read to fill tables
}

var (
	imagesBytes   = gauge("images_bytes", "Size of the row images on disk, with their index.")
	imagesRows    = gauge("images_rows", "Row images kept, roughly: by the statistics of their table, which lag behind.")
	imagesFilling = gauge("images_filling", "1 while some rows of the table may have no image: what was before their first change is not known.", "table")
	imagesFound   = counter("images_found_total", "Rows before a change that were found among the images.")
	imagesMissing = counter("images_missing_total", "Rows before a change that had no image: rules that read values before it park the event.")
	imagesWritten = counter("images_written_total", "Row images written or removed.")
	imagesFilled  = counter("images_filled_total", "Rows that were read to fill the images of a table.")
)

// imageFamilies are the metrics of images.
var imageFamilies = []family{imagesBytes, imagesRows, imagesFilling, imagesFound, imagesMissing, imagesWritten, imagesFilled}

// collect sends the figures; none when no images are kept.
func (s *ImagesState) collect(send func(f family, v float64, labels ...string)) {
	if s == nil {
		return
	}
	send(imagesBytes, float64(s.Bytes))
	send(imagesRows, float64(s.Rows))
	for i := range s.Tables {
		send(imagesFilling, truth(s.Tables[i].Filled.IsZero()), s.Tables[i].Schema+"."+s.Tables[i].Table)
	}
	if c := s.Counts; c != nil {
		send(imagesFound, float64(c.Found))
		send(imagesMissing, float64(c.Missing))
		send(imagesWritten, float64(c.Written))
		send(imagesFilled, float64(c.Filled))
	}
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
