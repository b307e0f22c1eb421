package payload

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"unicode/utf8"
)

// appendXML writes a JSON text as an XML 1.0 document without white space between elements:
//
//	{"name": "S1", "qty": 1.50, "note": null, "lines": [{"sku": "a"}], "größe": "L"}
//
//	<record><name>S1</name><qty type="number">1.50</qty><note type="null"/><lines type="array"><item type="object"><sku>a</sku></item></lines><member name="größe">L</member></record>
//
// A member is an element of its name; one whose name is not made of ASCII letters, digits, "_", "-" and ".", or that begins like none, or with "xml", is an
// element member with the attribute name. The elements of an array are called item. All but strings say their type: number,
// boolean, null, array or object; numbers keep their digits. What XML cannot say at all (control characters but tab and line breaks, U+FFFE, U+FFFF)
// becomes U+FFFD.
func appendXML(dst []byte, root string, text []byte) ([]byte, error) {
	dst = append(dst, `<?xml version="1.0" encoding="UTF-8"?>`...)
	dst = append(dst, '\n')
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	token, err := dec.Token()
	if err != nil {
		return dst, err
	}
	x := xmlWriter{out: dst, dec: dec}
	if err := x.element(root, token); err != nil {
		return dst, err
	}
	return x.out, nil
}

// xmlWriter writes elements for what a decoder of JSON reads.
type xmlWriter struct {
	out []byte
	dec *json.Decoder
}

// element writes the value that begins with a token.
func (x *xmlWriter) element(name string, token json.Token) error {
	tag := name
	if !isXMLName(name) {
		tag = "member"
	}
	x.out = append(append(x.out, '<'), tag...)
	if tag != name {
		x.out = append(x.out, ` name="`...)
		x.out = append(appendXMLText(x.out, name), '"')
	}
	switch v := token.(type) {
	case nil:
		x.out = append(x.out, ` type="null"/>`...)
		return nil
	case bool:
		x.typed("boolean")
		if v {
			x.out = append(x.out, "true"...)
		} else {
			x.out = append(x.out, "false"...)
		}
	case json.Number:
		x.typed("number")
		x.out = append(x.out, v...)
	case string:
		x.out = append(x.out, '>')
		x.out = appendXMLText(x.out, v)
	case json.Delim:
		if v == '[' {
			x.typed("array")
		} else {
			x.typed("object")
		}
		if err := x.children(v); err != nil {
			return err
		}
	}
	x.out = append(append(x.out, "</"...), tag...)
	x.out = append(x.out, '>')
	return nil
}

func (x *xmlWriter) typed(name string) {
	x.out = append(append(append(x.out, ` type="`...), name...), `">`...)
}

// children writes what is in an array or an object, and reads its end.
func (x *xmlWriter) children(of json.Delim) error {
	for x.dec.More() {
		name := "item"
		token, err := x.dec.Token()
		if err != nil {
			return err
		}
		if of == '{' {
			name = token.(string) // as JSON has it
			if token, err = x.dec.Token(); err != nil {
				return err
			}
		}
		if err := x.element(name, token); err != nil {
			return err
		}
	}
	_, err := x.dec.Token()
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// isXMLName says that every parser takes a text for an element's name.
func isXMLName(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return s != "" && !(len(s) >= 3 && strings.EqualFold(s[:3], "xml"))
}

// appendXMLText escapes text for an element or an attribute. Line breaks of Windows and, inside attributes, all white space would come back as something
// else: they are written as references.
func appendXMLText(dst []byte, s string) []byte {
	for _, r := range s {
		switch {
		case r == '&':
			dst = append(dst, "&amp;"...)
		case r == '<':
			dst = append(dst, "&lt;"...)
		case r == '>':
			dst = append(dst, "&gt;"...)
		case r == '"':
			dst = append(dst, "&quot;"...)
		case r == '\'':
			dst = append(dst, "&apos;"...)
		case r == '\t':
			dst = append(dst, "&#9;"...)
		case r == '\n':
			dst = append(dst, "&#10;"...)
		case r == '\r':
			dst = append(dst, "&#13;"...)
		case r < ' ', r == 0xfffe, r == 0xffff:
			dst = utf8.AppendRune(dst, utf8.RuneError)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}
