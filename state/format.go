package state

import (
	"encoding/json"
	"slices"

	"walhook/delivery"
)

// formatColumns are the formats and headers of deliveries, for unnest, which pads with NULL what is shorter than the others: both are empty when
// all deliveries are standard, and that is what nearly every batch costs for them.
func formatColumns(deliveries []*delivery.Delivery) (formats, headers []string) {
	formats, headers = []string{}, []string{}
	if !slices.ContainsFunc(deliveries, func(d *delivery.Delivery) bool { return d.Format != "" || len(d.Headers) > 0 }) {
		return formats, headers
	}
	for _, d := range deliveries {
		text := headersOf(d)
		if text == nil {
			text = new(string)
		}
		formats, headers = append(formats, d.Format), append(headers, *text)
	}
	return formats, headers
}

// formatOf is the column format; nil is NULL.
func formatOf(d *delivery.Delivery) *string {
	if d.Format == "" {
		return nil
	}
	return &d.Format
}

// headersOf is the column headers; nil is NULL.
func headersOf(d *delivery.Delivery) *string {
	if len(d.Headers) == 0 {
		return nil
	}
	text, err := json.Marshal(d.Headers)
	if err != nil {
		return nil // a map of texts is always marshalled
	}
	s := string(text)
	return &s
}

// setFormat reads both columns back.
func setFormat(d *delivery.Delivery, format *string, headers []byte) error {
	if format != nil {
		d.Format = *format
	}
	if headers == nil {
		return nil
	}
	return json.Unmarshal(headers, &d.Headers)
}
