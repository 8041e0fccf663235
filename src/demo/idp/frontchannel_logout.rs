//! OIDC Front-Channel Logout 1.0 from the provider's side: which frames its logged-out page holds.

use url::Url;

use super::Inner;
use super::state::SignOnSession;
use crate::demo::lock;

impl Inner {
    /// A frame for every client that saw one of these sessions and registered for it, with `iss` and `sid` (§2). To be asked before
    /// the clients are forgotten.
    pub(super) fn logout_frames(&self, ended: &[SignOnSession]) -> Vec<Url> {
        let memory = lock(&self.memory);
        let mut frames = Vec::new();
        for session in ended {
            let registered =
                memory.clients_of(&session.sid).into_iter().filter_map(|client| client.frontchannel_logout_uri);
            frames.extend(registered.filter_map(|uri| Url::parse(&uri).ok()).map(|mut frame| {
                frame.query_pairs_mut().append_pair("iss", &self.issuer).append_pair("sid", &session.sid);
                frame
            }));
        }
        frames
    }
}
