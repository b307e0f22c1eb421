package status

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

func badRequest(code, message, remedy string) *Refusal {
	return &Refusal{http.StatusBadRequest, code, message, remedy}
}

// writeRefusal writes an error. What was done before it, if anything, stands beside it.
func writeRefusal(w http.ResponseWriter, r *Refusal, done any) {
	type fault struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Hint    string `json:"hint,omitempty"`
	}
	changed, ok := done.(*changeAnswer)
	if !ok || changed.Done+changed.Failed == 0 {
		changed = nil
	}
	writeJSON(w, r.Status, struct {
		Error fault         `json:"error"`
		Done  *changeAnswer `json:"done_before,omitempty"`
	}{fault{r.Code, r.Message, r.Remedy}, changed})
}

// read reads the body of a POST, which is JSON.
func (c *call) read(w http.ResponseWriter) error {
	if kind, _, err := mime.ParseMediaType(c.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &Refusal{http.StatusUnsupportedMediaType, "wrong_content_type", "the body must be JSON", "Content-Type: application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, c.Body, apiBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &Refusal{http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body is larger than %s", Bytes(apiBody)), "name fewer ids, or select by a filter"}
	case err != nil:
		return badRequest("invalid_request", "the body could not be read: "+err.Error(), "")
	}
	c.body = body
	return nil
}

// decode reads the body into a struct: no key that it doesn't have, nothing behind it.
func (c *call) decode(into any) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("there is more than one value")
		}
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return badRequest("invalid_request", wrongType(wrong), "docs/api.md shows what it holds")
	}
	if err != nil {
		return badRequest("invalid_request", "the body: "+strings.TrimPrefix(err.Error(), "json: "), "docs/api.md shows what it holds")
	}
	return nil
}

// wrongType says what a key of the body must be, in JSON's words.
func wrongType(e *json.UnmarshalTypeError) string {
	name, want := e.Field[strings.LastIndexByte(e.Field, '.')+1:], "an object" // before the key stand the names of Go's embedded structs
	if name == "" {
		name = "the body"
	}
	switch e.Type.Kind() {
	case reflect.String:
		want = "text"
	case reflect.Bool:
		want = "true or false"
	case reflect.Int, reflect.Int64, reflect.Float64:
		want = "a number"
	case reflect.Slice:
		want = "a list"
	}
	return name + " must be " + want
}

// selectionParameters are those of lists.
var selectionParameters = []string{"state", "id", "endpoint", "rule", "model", "record", "error", "class", "status", "since", "until", "limit", "cursor"}

// selection reads the parameters of a list. kind is what cursors are for.
func (c *call) selection(kind string) (s Selection, err error) {
	q := c.URL.Query()
	s = Selection{
		State: q.Get("state"), IDs: q["id"], Endpoint: q.Get("endpoint"), Rule: q.Get("rule"), Model: q.Get("model"), Record: q.Get("record"),
		Error: q.Get("error"), Class: q.Get("class"), Since: q.Get("since"), Until: q.Get("until"),
	}
	if s.Status, err = c.number("status", 0, 0, 999); err != nil {
		return s, err
	}
	if s.Limit, err = c.number("limit", apiPage, 1, apiPageMax); err != nil {
		return s, err
	}
	s.Before, s.After, err = parseCursor(kind, q.Get("cursor"))
	return s, err
}

// number reads a parameter that is a number.
func (c *call) number(name string, usual, least, most int) (int, error) {
	text := c.URL.Query().Get(name)
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, badRequest("invalid_request", fmt.Sprintf("%s: %q is no number from %d to %d", name, text, least, most), "")
	}
	return n, nil
}

// cursorOf is where the next page or step begins, "" when there is none. Callers should not look into it.
func cursorOf(kind string, before, after int64) string {
	if before == 0 {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "1 %s %d %d", kind, before, after))
}

func parseCursor(kind, text string) (before, after int64, err error) {
	if text == "" {
		return 0, 0, nil
	}
	var version int
	var of string
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		_, err = fmt.Sscanf(string(raw), "%d %s %d %d", &version, &of, &before, &after)
	}
	if err != nil || version != 1 || of != kind || before <= 0 || after < 0 {
		return 0, 0, badRequest("invalid_cursor", "the cursor is not one of this list", "take next of the page before, and repeat the rest of the request")
	}
	return before, after, nil
}
