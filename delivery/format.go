package delivery

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"walhook/delivery/payload"
)

// CompressGzip is the value of EndpointConfig.Compress.
const CompressGzip = "gzip"

// leastCompressed is the size below which compressing a body is not worth it.
const leastCompressed = 1 << 10

// templateSource is the template's text, "" without one.
func (c *EndpointConfig) templateSource() string {
	if c.TemplateFile != "" {
		return c.TemplateFile
	}
	return c.TemplateText
}

// format is how the endpoint's bodies are written.
func (c *EndpointConfig) format() *payload.Format {
	f := &payload.Format{Name: c.Format, Encoding: c.Encoding, Media: c.ContentType, Source: c.Source}
	if c.Format == payload.FormatTemplate {
		f.Template, f.Err = payload.ParseTemplate(c.templateName(), c.templateSource())
	}
	return f
}

// templateName is what errors call the template.
func (c *EndpointConfig) templateName() string {
	if c.Template != "" {
		return c.Template
	}
	return "template_text"
}

func (c *EndpointConfig) validateFormat(p *problems) {
	p.oneOf("format", c.Format, payload.Formats...)
	p.oneOf("encoding", c.Encoding, payload.Encodings...)
	if !slices.Contains(payload.Formats, c.Format) || !slices.Contains(payload.Encodings, c.Encoding) {
		return
	}
	if why := payload.Combines(c.Format, c.Encoding); why != "" {
		p.add("encoding", fmt.Sprintf("format %q cannot be written as %s: %s", c.Format, c.Encoding, why), "leave encoding out, or use format standard or raw")
	}
	c.validateTemplate(p)
	c.validateMedia(p)
	c.validateSource(p)
	c.validateRedact(p)
	if c.Batch.On() {
		if message := c.unbatchable(); message != "" {
			p.add("batch", message, "leave batch out, or use a format and encoding that are JSON")
		}
	}
}

func (c *EndpointConfig) validateTemplate(p *problems) {
	given := c.Template != "" || c.TemplateText != ""
	switch {
	case c.Format != payload.FormatTemplate:
		for _, key := range []struct{ name, value string }{{"template", c.Template}, {"template_text", c.TemplateText}} {
			if key.value != "" {
				p.add(key.name, fmt.Sprintf("format %q uses no template", c.Format), `set format = "template", or leave it out`)
			}
		}
	case !given:
		p.add("format", "there is no template", `set template to the name of a file, or template_text to the template itself: template_text = '{"text": {{json .record.name}}}'`)
	case c.Template != "" && c.TemplateText != "":
		p.add("template_text", "template says it already", "keep one of the two")
	case c.Template != "" && c.TemplateFile == "":
		// Its file could not be read: that was said where it was tried.
	default:
		key := "template_text"
		if c.Template != "" {
			key = "template"
		}
		if _, err := payload.ParseTemplate(c.templateName(), c.templateSource()); err != nil {
			p.add(key, err.Error(), "templates are written as in Go: https://pkg.go.dev/text/template; functions and members stand in docs/configuration.md")
		}
	}
}

func (c *EndpointConfig) validateMedia(p *problems) {
	if c.ContentType == "" {
		return
	}
	media, _, err := mime.ParseMediaType(c.ContentType)
	switch {
	case err != nil || !strings.Contains(media, "/"):
		p.add("content_type", fmt.Sprintf("%q is no media type", c.ContentType), `write it as "application/json" or "text/csv; charset=utf-8"`)
	case c.Format == payload.FormatCloudEvents || c.Format == payload.FormatBinary:
		p.add("content_type", "the media type of a CloudEvent is fixed", "leave it out")
	}
	for name := range c.Headers {
		if textproto.CanonicalMIMEHeaderKey(name) == "Content-Type" {
			p.add("content_type", "headers sets it too", "keep one of the two")
		}
	}
}

// validateSource looks at what concerns CloudEvents alone.
func (c *EndpointConfig) validateSource(p *problems) {
	if c.Format != payload.FormatCloudEvents && c.Format != payload.FormatBinary {
		if c.Source != "" {
			p.add("source", fmt.Sprintf("format %q has no source", c.Format), "leave it out")
		}
		return
	}
	if _, err := url.Parse(c.Source); err != nil || strings.ContainsFunc(c.Source, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		p.add("source", "it is no URI reference", `write it as "/odoo/production" or "https://odoo.example.com"`)
	}
	for name := range c.Headers {
		switch canonical := textproto.CanonicalMIMEHeaderKey(name); {
		case canonical == "Content-Type":
			p.add("headers."+name, "the media type of a CloudEvent is fixed", "leave it out")
		case c.Format == payload.FormatBinary && strings.HasPrefix(canonical, "Ce-"):
			p.add("headers."+name, "headers that begin with ce- are the attributes of a CloudEvent", "leave it out")
		}
	}
}

func (c *EndpointConfig) validateRedact(p *problems) {
	for i, path := range c.Redact {
		if path == "" || strings.Contains("."+path+".", "..") {
			p.add(fmt.Sprintf("redact[%d]", i), fmt.Sprintf("%q names no member", path), `write it as "email" or "lines.*.price"`)
		}
	}
	if c.Compress != "" {
		c.validateCompress(p)
	}
}

func (c *EndpointConfig) validateCompress(p *problems) {
	p.oneOf("compress", c.Compress, CompressGzip)
	for name := range c.Headers {
		if textproto.CanonicalMIMEHeaderKey(name) == "Content-Encoding" {
			p.add("compress", "headers sets Content-Encoding too", "keep one of the two")
		}
	}
	if c.Encoding == payload.EncodingForm && c.Auth.Type == AuthOAuth1 {
		p.add("compress", "OAuth 1.0a signs the fields of a form, which nobody sees in a compressed one", "leave compress out")
	}
	if c.Method == http.MethodGet {
		p.add("compress", "a GET request has no body to compress", `use method = "POST", or leave it out`)
	}
}

// unbatchable says why several bodies of the endpoint cannot be one request.
func (c *EndpointConfig) unbatchable() string {
	switch f := c.format(); {
	case c.Format == payload.FormatBinary:
		return "a CloudEvent in binary mode has its attributes in headers, and a request has one set of them: batches are of format \"cloudevents\""
	case c.Encoding == payload.EncodingXML, c.Encoding == payload.EncodingForm:
		return fmt.Sprintf("a batch is a JSON array, and the encoding is %s", c.Encoding)
	case !isJSON(f.ContentType()):
		return fmt.Sprintf("a batch is a JSON array, and bodies are %s (content_type)", f.ContentType())
	}
	return ""
}

// compressed is a body as it goes over the wire, and whether that is another than it was.
func compressed(body []byte) ([]byte, bool) {
	if len(body) < leastCompressed {
		return body, false
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out) // writing to memory never fails
	_, _ = w.Write(body)
	_ = w.Close()
	return out.Bytes(), true
}
