package catalog_test

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc/catalog"
)

var update = flag.Bool("update", false, "write the golden files of this package anew")

func TestSecret(t *testing.T) {
	secrets := `res_users.password res_users.totp_secret res_users.oauth_access_token res_users.google_calendar_rtoken res_users.password_crypt
res_users_apikeys.key auth_totp_device.key ir_config_parameter.value
sale_order.access_token account_move.access_token ir_attachment.access_token calendar_event.access_token rating_rating.access_token
res_partner.signup_token iap_account.account_token mail_push_device.keys hr_employee.pin payment_token.provider_ref payment_token.acquirer_ref
ir_mail_server.smtp_pass ir_mail_server.smtp_ssl_private_key ir_mail_server.google_gmail_refresh_token ir_mail_server.google_gmail_authorization_code
fetchmail_server.password res_company_ldap.ldap_password auth_oauth_provider.client_secret
payment_provider.stripe_secret_key payment_provider.stripe_webhook_secret payment_provider.paypal_client_secret payment_provider.adyen_api_key
payment_provider.adyen_hmac_key payment_provider.authorize_transaction_key payment_provider.authorize_signature_key payment_provider.razorpay_key_secret
payment_provider.mollie_api_key payment_provider.aps_access_code payment_provider.aps_sha_request payment_provider.mercado_pago_access_token
payment_acquirer.buckaroo_secretkey payment_acquirer.ogone_shakey_out payment_acquirer.payumoney_merchant_salt payment_provider.asiapay_secure_hash_secret
delivery_carrier.dhl_password delivery_carrier.fedex_developer_key delivery_carrier.ups_passwd delivery_carrier.ups_access_number delivery_carrier.easypost_test_api_key
pos_payment_method.adyen_api_key social_account.twitter_oauth_token_secret res_company.l10n_in_edi_password res_config_settings.unsplash_app_id
certificate_key.pem_key certificate_certificate.pkcs12_password
account.password_hash account.passwordHash account.apiKey account.API_KEY account.api_key_live account.private_key_pem account.reset_password_token
account.passwd account.pass account.db_pass account.pwd account.passphrase account.client_secret account.jwt account.access_tokens account.refresh_token
account.encryption_key account.webhook_signing_key account.ssh_key account.otp_seed account.recovery_codes account.backup_code account.cvv account.card_cvc
account.credentials account.x_credential account.x_studio_api_key`
	for name := range strings.FieldsSeq(secrets) {
		table, column, _ := strings.Cut(name, ".")
		if !catalog.Secret(table, column) {
			t.Errorf("%s is not taken for a secret", name)
		}
	}
	open := `ir_config_parameter.key ir_sequence.key ir_ui_view.key sale_order.name sale_order.signature sale_order.require_signature
account_move.inalterable_hash account_journal.restrict_mode_hash_table account_merge_wizard_line.grouping_key res_users_settings.push_to_talk_key
account_payment.payment_token_id payment_transaction.token_id payment_transaction.tokenize payment_provider.allow_tokenization payment_token.payment_details
payment_provider.stripe_publishable_key payment_provider.sendcloud_public_key payment_provider.state payment_provider.code
ir_mail_server.google_gmail_access_token_expiration res_groups.api_key_duration iap_account.show_token res_users.login res_partner.signup_type
hr_employee.passport_id hr_employee.private_email hr_employee.private_street pos_payment.payment_method_authcode pos_session.login_number
res_partner.secretary_id res_company.secretary mail_message.author_id res_users_apikeys.name res_users_apikeys.scope auth_passkey_key.name
res_config_settings.id res_config_settings.company_id change_password_user.user_login
dim.key dim.sort_key dim.primary_key dim.foreign_key dim.customer_key dim.client_key dim.transaction_key dim.session_key dim.license_key dim.product_key dim.public_key dim.hash_key
travel.boarding_pass travel.season_pass audit.passed test.bypass usage.max_tokens usage.prompt_tokens usage.token_count crypto.token_symbol
account.password_changed_at account.password_expiry_date account.has_password account.is_secret account.secret_id account.api_key_id account.token_type
account.pin_code account.salt account.compass account.passage account.keyboard account.turkey account.monkey account.tokenizer account.otpional`
	for name := range strings.FieldsSeq(open) {
		table, column, _ := strings.Cut(name, ".")
		if catalog.Secret(table, column) {
			t.Errorf("%s is taken for a secret", name)
		}
	}
}

// All columns of four versions of Odoo go through Secret; what it catches was looked through by
// eye and is kept in testdata/secrets.txt, so that a change of the rules shows what it does.
func TestSecretsOfOdoo(t *testing.T) {
	caught := map[string]bool{}
	for _, version := range []string{"16", "17", "18", "19"} {
		columns := columnsOf(t, open(t, schemaOf(version)))
		if len(columns) < 5000 {
			t.Fatalf("the schema of %s has only %d columns", version, len(columns))
		}
		for _, c := range columns {
			if !catalog.Secret(c[0], c[1]) {
				continue
			}
			if c[0] == "res_config_settings" { // all of it
				c[1] = "*"
			}
			caught[c[0]+"."+c[1]] = true
		}
	}
	var lines []string
	for name := range caught {
		lines = append(lines, name)
	}
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	const golden = "testdata/secrets.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(readFile(t, golden), strings.TrimRight(got, "\n")); diff != "" {
		t.Errorf("caught columns (-want +got), see -update:\n%s", diff)
	}
}
