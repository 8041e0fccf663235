//! The logout request (RP-Initiated Logout 1.0 §2).

use url::Url;

use super::options::ClientOptions;
use crate::secret::Secret;

/// The address that ends a provider's session. What else the endpoint's own address says stays.
///
/// A hint counts however old it is (§4), so the last ID token goes along as it is. Without one the provider knows us by `client_id`, and
/// asks the person; `logout_hint` is left out, since what it means is between a provider and those it has told (§2).
pub(super) fn request(
    mut endpoint: Url,
    id_token_hint: Option<&Secret<String>>,
    client: &ClientOptions,
    state: &Secret<String>,
) -> Secret<String> {
    {
        let mut query = endpoint.query_pairs_mut();
        // A longer address is more than many servers take: rather a question than a 414.
        if let Some(hint) = id_token_hint.filter(|hint| hint.expose().len() <= LONGEST_HINT) {
            query.append_pair("id_token_hint", hint.expose());
        }
        query
            .append_pair("client_id", &client.client_id)
            .append_pair("post_logout_redirect_uri", client.post_logout_redirect_uri.as_str())
            .append_pair("state", state.expose());
    }
    Secret::new(endpoint.into())
}

/// Of the 8 KiB that servers commonly take for a request line.
const LONGEST_HINT: usize = 6 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oidc::ClientAuth;

    fn asked(endpoint: &str, hint: Option<&str>) -> String {
        let url = |url| Url::parse(url).unwrap();
        let (callback, logged_out) =
            (url("https://shop.example/bff/callback"), url("https://shop.example/bff/logged-out"));
        let client = ClientOptions::new("the shop", ClientAuth::None, callback, logged_out);
        let hint = hint.map(|hint| Secret::new(hint.to_owned()));
        request(url(endpoint), hint.as_ref(), &client, &Secret::new("st".to_owned())).expose().clone()
    }

    const REST: &str =
        "client_id=the+shop&post_logout_redirect_uri=https%3A%2F%2Fshop.example%2Fbff%2Flogged-out&state=st";

    #[test]
    fn the_request_names_us_and_the_way_back() {
        let endpoint = "https://id.example/end";
        assert_eq!(asked(endpoint, Some("e30.e30.sig")), format!("{endpoint}?id_token_hint=e30.e30.sig&{REST}"));
        assert_eq!(asked("https://id.example/end?tenant=7", None), format!("https://id.example/end?tenant=7&{REST}"));
    }

    #[test]
    fn a_hint_that_is_too_long_for_an_address_stays_here() {
        let endpoint = "https://id.example/end";
        assert!(asked(endpoint, Some(&"x".repeat(LONGEST_HINT))).contains("id_token_hint"));
        assert_eq!(asked(endpoint, Some(&"x".repeat(LONGEST_HINT + 1))), format!("{endpoint}?{REST}"));
    }
}
