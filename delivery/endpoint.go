package delivery

import (
	"time"

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
	Auth    Auth               `toml:"auth"`    // default none

	Timeout     Duration    `toml:"timeout"`     // of one attempt, from the look-up of the name to the end of the answer's body; default 15s
	Retry       RetryPolicy `toml:"retry"`       // default 10 attempts over about 9 hours
	Concurrency int         `toml:"concurrency"` // requests at the same time; default 16, at most 10000
	Ordering    string      `toml:"ordering"`    // what waits for one another: "record" (default), "endpoint" (everything) or "none"
	OnDead      string      `toml:"on_dead"`     // after a dead letter the lane goes on ("skip", default) or waits for a person ("hold")

	Queue QueueConfig `toml:"queue"` // limits of what is kept

	TLS   TLS   `toml:"tls"`
	Proxy URL   `toml:"proxy"` // http, https or socks5 address, or "off"; default the environment's HTTPS_PROXY, HTTP_PROXY and NO_PROXY
	HTTP2 *bool `toml:"http2"` // offered over https; default true

	MaxBody     int `toml:"max_body"`     // bytes; a larger body is not sent, the delivery is dead at once; default 1 MiB
	MaxResponse int `toml:"max_response"` // bytes of an answer's body that are kept for the log; default 64 KiB, at most 1 MiB
}

// Auth says how requests authenticate themselves.
type Auth struct {
	Type     string    `toml:"type"`     // "basic", "bearer" or "api_key"; empty means none
	Username string    `toml:"username"` // of basic
	Password Sensitive `toml:"password"` // of basic
	Token    Sensitive `toml:"token"`    // of bearer
	Name     string    `toml:"name"`     // of api_key: the header or query key; default "X-API-Key"
	In       string    `toml:"in"`       // of api_key: "header" (default) or "query"
	Value    Sensitive `toml:"value"`    // of api_key
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

// The values of Auth.Type.
const (
	AuthBasic  = "basic"
	AuthBearer = "bearer"
	AuthAPIKey = "api_key"
)

// The values of Auth.In.
const (
	InHeader = "header"
	InQuery  = "query"
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
	fill(&c.Timeout, Duration(15*time.Second))
	fill(&c.Concurrency, 16)
	fill(&c.Ordering, OrderRecord)
	fill(&c.OnDead, OnDeadSkip)
	fill(&c.MaxBody, 1<<20)
	fill(&c.MaxResponse, 64<<10)
	if c.Auth.Type == AuthAPIKey {
		fill(&c.Auth.Name, "X-API-Key")
		fill(&c.Auth.In, InHeader)
	}
	c.Retry = c.Retry.WithDefaults()
	c.Queue = c.Queue.WithDefaults()
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

// UseHTTP2 says whether HTTP/2 is offered.
func (c *EndpointConfig) UseHTTP2() bool { return c.HTTP2 == nil || *c.HTTP2 }
