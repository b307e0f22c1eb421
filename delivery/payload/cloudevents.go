package payload

import (
	"net/url"
	"strings"
	"time"
)

// specVersion is the attribute specversion of CloudEvents 1.0, with all its corrections up to 1.0.2.
const specVersion = "1.0"

// cloudEvent writes an event in structured mode (CloudEvents JSON format 1.0.2, section 3): its data are those of the standard body.
func (f *Format) cloudEvent(dst []byte, e *envelope, a *About) []byte {
	b := body{out: append(dst, '{')}
	for _, attribute := range f.context(a) {
		b.member(attribute.name)
		b.text(attribute.value)
	}
	b.raw(`,"datacontenttype":"application/json","data":`)
	return append(append(b.out, e.Data...), '}')
}

// attributes are the headers of binary mode (HTTP protocol binding 1.0.2, section 3.1.3). The data's content type is Content-Type.
func (f *Format) attributes(a *About) map[string]string {
	headers := map[string]string{}
	for _, attribute := range f.context(a) {
		headers["Ce-"+strings.ToUpper(attribute.name[:1])+attribute.name[1:]] = percentHeader(attribute.value)
	}
	return headers
}

type attribute struct{ name, value string }

// context are the attributes of an event, of which none is empty, as the specification wants it.
func (f *Format) context(a *About) []attribute {
	all := []attribute{{"specversion", specVersion}, {"id", a.ID}, {"source", f.Source}, {"type", a.Event}}
	if subject := a.Model + "/" + a.Record; subject != "/" {
		all = append(all, attribute{"subject", withoutControl(strings.Trim(subject, "/"))})
	}
	all[2].value, all[3].value = withoutControl(all[2].value), withoutControl(all[3].value)
	return append(all, attribute{"time", a.At.UTC().Format(time.RFC3339Nano)})
}

// withoutControl leaves out what a String of CloudEvents' type system may not hold.
func withoutControl(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r <= 0x9f || r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// percentHeader encodes a header's value (section 3.1.3.2): all but printable ASCII without space, quote and percent.
func percentHeader(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '%' {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Source is a URI reference that names a database: "/odoo/production".
func Source(kind, database string) string {
	return "/" + kind + "/" + strings.ReplaceAll(percentHeader(url.PathEscape(database)), "%25", "%")
}
