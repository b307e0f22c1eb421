package payload

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"strconv"
	"strings"
)

// appendForm writes a JSON object as application/x-www-form-urlencoded, in its order, nested names in brackets as PHP, Rack and qs read them:
//
//	{"name": "S1", "qty": 1.50, "note": null, "lines": [{"sku": "a"}]}
//
//	name=S1&qty=1.50&note=&lines%5B0%5D%5Bsku%5D=a            which is lines[0][sku]=a
//
// Numbers keep their digits, booleans are true and false, null is empty. An empty array or object has no form and is left out. The characters [, ]
// and % inside a name are percent-encoded once more, so that names stay apart.
func appendForm(dst []byte, text []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	token, err := dec.Token()
	if err != nil {
		return dst, err
	}
	f := formWriter{out: dst, start: len(dst), dec: dec}
	if err := f.value("", token); err != nil {
		return dst, err
	}
	return f.out, nil
}

type formWriter struct {
	out   []byte
	start int
	dec   *json.Decoder
}

func (f *formWriter) value(name string, token json.Token) error {
	switch v := token.(type) {
	case json.Delim:
		return f.children(name, v)
	case string:
		f.pair(name, v)
	case json.Number:
		f.pair(name, string(v))
	case bool:
		f.pair(name, strconv.FormatBool(v))
	default:
		f.pair(name, "")
	}
	return nil
}

func (f *formWriter) pair(name, value string) {
	if len(f.out) > f.start {
		f.out = append(f.out, '&')
	}
	f.out = append(append(f.out, url.QueryEscape(name)...), '=')
	f.out = append(f.out, url.QueryEscape(value)...)
}

func (f *formWriter) children(name string, of json.Delim) error {
	for i := 0; f.dec.More(); i++ {
		part := strconv.Itoa(i)
		token, err := f.dec.Token()
		if err != nil {
			return err
		}
		if of == '{' {
			part = formPart.Replace(token.(string)) // as JSON has it
			if token, err = f.dec.Token(); err != nil {
				return err
			}
		}
		inner := part
		if name != "" {
			inner = name + "[" + part + "]"
		}
		if err := f.value(inner, token); err != nil {
			return err
		}
	}
	_, err := f.dec.Token()
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

var formPart = strings.NewReplacer("%", "%25", "[", "%5B", "]", "%5D")
