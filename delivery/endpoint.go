package delivery

import (
	"time"

	"walhook/delivery/payload"
	"walhook/delivery/signature"
)

// EndpointConfig is one [endpoints.NAME] table of the configuration file. The zero value of
// an optional field means its documented default; see WithDefaults.
type EndpointConfig struct {
	URL     URL                  `toml:"url"`     // http or https; required
	Method  string               `toml:"method"`  // POST, PUT, PATCH, DELETE or GET (which sends no body); default POST
	Headers map[string]Sensitive `toml:"headers"` // sent with every request; their values are never shown, but for a few harmless names
	Query   map[string]Sensitive `toml:"query"`   // added to the url's query; their values are never shown
	Active  *bool                `toml:"active"`  // default true; of an inactive endpoint deliveries wait in the queue

	Secrets []signature.Secret `toml:"secrets"` // Standard Webhooks signature, one for each secret; default unsigned
	HMAC    HMAC               `toml:"hmac"`    // signature in another header; default none
	Auth    Auth               `toml:"auth"`    // default none

	Timeout     Duration    `toml:"timeout"`     // of one attempt, from the look-up of the name to the end of the answer's body; default 15s
	Retry       RetryPolicy `toml:"retry"`       // default 10 attempts over about 9 hours
	Concurrency int         `toml:"concurrency"` // requests at the same time; default 16, at most 10000
	Ordering    string      `toml:"ordering"`    // what waits for one another: "record" (default), "endpoint" (everything) or "none"
	OnDead      string      `toml:"on_dead"`     // after a dead letter the lane goes on ("skip", default) or waits for a person ("hold")

	Format       string   `toml:"format"`        // "standard" (default), "cloudevents", "cloudevents-binary", "odoo", "raw" or "template"
	Encoding     string   `toml:"encoding"`      // "json" (default), "xml" or "form"
	Template     string   `toml:"template"`      // of format template: file, relative to the configuration file
	TemplateText string   `toml:"template_text"` // of format template: the template itself
	TemplateFile string   `toml:"-"`             // what the file of Template holds
	ContentType  string   `toml:"content_type"`  // default that of format and encoding, of a template text/plain; charset=utf-8
	Source       string   `toml:"source"`        // of CloudEvents: the attribute source, a URI reference; default "/odoo/DATABASE"
	Compress     string   `toml:"compress"`      // "gzip": bodies of 1 KiB and more go compressed; default none
	Redact       []string `toml:"redact"`        // members of the record that are masked wherever a body is shown; what is sent is untouched

	Batch BatchConfig `toml:"batch"` // several deliveries in one request; default none
	Queue QueueConfig `toml:"queue"` // limits of what is kept

	Rate    RateConfig    `toml:"rate"`    // how many requests it gets; default no limit
	Breaker BreakerConfig `toml:"breaker"` // when it is left alone for a while
	Disable DisableConfig `toml:"disable"` // when it is given up

	TLS   TLS   `toml:"tls"`
	Proxy URL   `toml:"proxy"` // http, https or socks5 address, or "off"; default the environment's HTTPS_PROXY, HTTP_PROXY and NO_PROXY
	HTTP2 *bool `toml:"http2"` // offered over https; default true

	MaxBody     Size `toml:"max_body"`     // a larger body is not sent, the delivery is dead at once; default 1MiB
	MaxResponse Size `toml:"max_response"` // of an answer's body that are kept for the log; default 64KiB, at most 1MiB

	// Guarded is set for every endpoint whose address did not come from the configuration file: only public
	// addresses are dialled, and no proxy is used; see [NotPublic].
	Guarded bool `toml:"-"`
}

// TLS is how an endpoint's https connections are made. TLS 1.2 is the least that is spoken.
type TLS struct {
	CAFile             string `toml:"ca_file"`              // PEM; replaces the system's authorities
	CertFile           string `toml:"cert_file"`            // PEM; client certificate, with key_file
	KeyFile            string `toml:"key_file"`             // PEM
	ServerName         string `toml:"server_name"`          // name that the certificate must hold; default the url's host
	InsecureSkipVerify bool   `toml:"insecure_skip_verify"` // accept any certificate; earns a warning
}

// The values of EndpointConfig.Ordering.
const (
	OrderRecord   = "record"
	OrderEndpoint = "endpoint"
	OrderNone     = "none"
)

// The values of EndpointConfig.OnDead.
const (
	OnDeadSkip = "skip"
	OnDeadHold = "hold"
)

// ProxyOff is the value of EndpointConfig.Proxy that ignores the environment's proxies.
const ProxyOff URL = "off"

const (
	maxConcurrency = 10_000
	maxResponse    = 1 << 20
)

// WithDefaults fills what is zero.
func (c EndpointConfig) WithDefaults() EndpointConfig {
	fill(&c.Method, "POST")
	fill(&c.Format, payload.FormatStandard)
	fill(&c.Encoding, payload.EncodingJSON)
	if c.Format == payload.FormatCloudEvents || c.Format == payload.FormatBinary {
		fill(&c.Source, "/walhook")
	}
	fill(&c.Timeout, Duration(15*time.Second))
	fill(&c.Concurrency, 16)
	fill(&c.Ordering, OrderRecord)
	fill(&c.OnDead, OnDeadSkip)
	fill(&c.MaxBody, 1<<20)
	fill(&c.MaxResponse, 64<<10)
	c.Auth.withDefaults()
	c.HMAC.withDefaults()
	c.Retry = c.Retry.WithDefaults()
	c.Queue = c.Queue.WithDefaults()
	c.Batch = c.Batch.withDefaults(c.MaxBody)
	c.Rate = c.Rate.WithDefaults()
	c.Breaker = c.Breaker.WithDefaults()
	c.Disable = c.Disable.WithDefaults()
	return c
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// IsActive says whether anything is sent to the endpoint.
func (c *EndpointConfig) IsActive() bool { return c.Active == nil || *c.Active }

// PublicKeys are what receivers verify signatures of ed25519 with, in the order of the secrets.
func (c *EndpointConfig) PublicKeys() []signature.PublicKey {
	var keys []signature.PublicKey
	for _, s := range c.Secrets {
		if key, ok := s.PublicKey(); ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// UseHTTP2 says whether HTTP/2 is offered.
func (c *EndpointConfig) UseHTTP2() bool { return c.HTTP2 == nil || *c.HTTP2 }
