package catalog

import (
	"slices"
	"strings"
	"unicode"
)

// Secret says that a column holds a secret: a password or its hash, a token, an
// API or private key, a one-time-password seed, a provider's credentials. Such a
// column never enters a payload, a log or a preview, whatever the rule says.
//
// It knows Odoo's own columns by name, and recognises others, in Odoo's modules
// and in plain tables alike, by the words that their names are made of. It looks at names only: a secret
// kept in a column called "notes" is not found. Columns about a secret
// (when a password changes, whether a token is shown, which payment token
// was used) are none themselves.
func Secret(table, column string) bool {
	table, lower := strings.ToLower(table), strings.ToLower(column)
	if known := secretColumns[table]; slices.Contains(known, lower) {
		return true
	}
	if secretTables[table] && !bookkeeping(lower) {
		return true
	}
	if !hints(lower) {
		return false
	}
	return secretName(column, providers[table])
}

// hints says that a name in small letters may be one of a secret: each word that secretName looks for has one of these in it. It spares the
// thousands of other names of a database being taken apart.
func hints(lower string) bool {
	for _, hint := range [...]string{"key", "pass", "token", "code", "secret", "pwd", "otp", "cvv", "cvc", "salt", "credential", "jwt"} {
		if strings.Contains(lower, hint) {
			return true
		}
	}
	return false
}

// secretName judges a name by its words.
func secretName(column string, provider bool) bool {
	w := words(column)
	if len(w) == 0 || about(w) {
		return false
	}
	return secretWord(w) || secretKey(w, provider) || secretPass(w)
}

// secretColumns are columns of Odoo whose names don't tell.
var secretColumns = map[string][]string{
	"auth_totp_device":        {"key", "index"},
	"base_automation":         {"webhook_uuid"}, // who knows it can call the webhook
	"certificate_certificate": {"content"},      // may hold the private key (PKCS 12)
	"certificate_key":         {"content"},
	"delivery_carrier":        {"ups_access_number"},
	"fetchmail_server":        {"google_gmail_authorization_code"},
	"hr_employee":             {"pin"},
	"ir_config_parameter":     {"value"}, // database.secret and the keys of most services
	"ir_mail_server":          {"google_gmail_authorization_code"},
	"mail_partner_device":     {"keys"},
	"mail_push_device":        {"keys"},
	"payment_acquirer":        {"aps_access_code", "aps_sha_request", "aps_sha_response"},
	"payment_provider":        {"aps_access_code", "aps_sha_request", "aps_sha_response"},
	"payment_token":           {"acquirer_ref", "provider_ref"}, // charges a customer's card
	"res_device_log":          {"session_identifier"},
	"res_users_apikeys":       {"key", "index"},
}

// secretTables hold little else than secrets: settings pass through
// res_config_settings on their way to ir_config_parameter, the others set up credentials.
var secretTables = map[string]bool{
	"auth_passkey_key":     true,
	"auth_totp_wizard":     true,
	"change_password_own":  true,
	"change_password_user": true,
	"res_config_settings":  true,
}

// bookkeeping are the columns that every table of Odoo has, and owners.
func bookkeeping(column string) bool {
	switch column {
	case "id", "name", "user_id", "user_login", "wizard_id", "company_id", "create_uid", "create_date", "write_uid", "write_date":
		return true
	}
	return false
}

// providers are the tables where a column "…_key" is a credential of a service.
var providers = map[string]bool{
	"delivery_carrier":   true,
	"payment_acquirer":   true,
	"payment_provider":   true,
	"pos_payment_method": true,
}

// about says that the column describes a secret and is none: a flag, a date, a
// count, a reference to a record.
func about(w []string) bool {
	switch w[0] {
	case "allow", "has", "is", "require", "requires", "show", "use", "uses":
		return true
	}
	switch w[len(w)-1] {
	case "active", "age", "at", "attempts", "changed", "count", "date", "datetime", "days", "duration", "enabled",
		"expiration", "expired", "expires", "expiry", "hint", "id", "ids", "length", "lifetime", "limit", "mandatory",
		"minlength", "name", "on", "policy", "required", "reset", "scope", "set", "state", "status", "strength", "time", "ttl",
		"type", "uid", "until", "valid", "validity", "verified", "version":
		return true
	}
	return false
}

// secretWord finds words that mean a secret by themselves, and words that do
// so at the end of a name.
func secretWord(w []string) bool {
	for _, word := range w {
		switch word {
		case "secret", "secrets", "password", "passwords", "passwd", "passphrase", "pwd", "passcode", "credential", "credentials",
			"totp", "otp", "cvv", "cvc", "apikey", "apikeys", "accesskey", "privatekey", "secretkey", "shakey",
			"accesstoken", "authtoken", "refreshtoken":
			return true
		}
	}
	last := w[len(w)-1]
	switch last {
	case "token", "rtoken", "jwt":
		return true
	}
	if len(w) < 2 {
		return false
	}
	before := w[len(w)-2]
	switch last {
	case "hash", "key", "value":
		return before == "token"
	case "tokens": // but not the max_tokens of a language model
		return slices.Contains([]string{"access", "api", "auth", "bearer", "device", "oauth", "refresh", "session"}, before)
	case "code", "codes":
		return before == "backup" || before == "oauth" || before == "recovery"
	}
	return false
}

// secretKey finds keys that are secrets by the word before: an API key is, a
// public key, a sort key or the key of a dimension (client_key, transaction_key) is
// not. In a provider's table every key is, unless it is meant to be published.
func secretKey(w []string, provider bool) bool {
	for i := 1; i < len(w); i++ {
		if w[i] != "key" && w[i] != "keys" {
			continue
		}
		switch w[i-1] {
		case "access", "aes", "api", "auth", "authentication", "consumer", "decryption", "encryption", "hmac", "master", "pem",
			"private", "rsa", "security", "server", "shared", "signature", "signing", "ssh", "webhook":
			return true
		}
	}
	last := w[len(w)-1]
	if !provider || len(w) < 2 {
		return false
	}
	switch w[len(w)-2] {
	case "public", "publishable":
		return false
	}
	return last == "key" || last == "salt"
}

// secretPass finds passwords that are called pass: smtp_pass is one, a
// boarding_pass is not.
func secretPass(w []string) bool {
	if w[len(w)-1] != "pass" {
		return false
	}
	if len(w) == 1 {
		return true
	}
	switch w[len(w)-2] {
	case "account", "admin", "api", "auth", "basic", "database", "db", "email", "ftp", "http", "imap", "ldap", "login", "mail",
		"pop", "pop3", "proxy", "sftp", "smtp", "user", "web", "wifi":
		return true
	}
	return false
}

// words splits a name at underscores and other signs and before capitals, and
// folds it: "x_apiKey" is x, api, key.
func words(name string) []string {
	var out []string
	var word []rune
	end := func() {
		if len(word) > 0 {
			out = append(out, string(word))
			word = word[:0]
		}
	}
	var before rune
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			end()
		case unicode.IsUpper(r) && unicode.IsLower(before):
			end()
			fallthrough
		default:
			word = append(word, unicode.ToLower(r))
		}
		before = r
	}
	end()
	return out
}
