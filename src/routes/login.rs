//! `GET /bff/login` starts a login; `GET` and `POST` are also the initiate-login URI of OIDC Core §4.

use std::collections::HashSet;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use url::form_urlencoded;

use super::{see_other, whole};
use crate::Error;
use crate::frontend::{Frontend, LoginParameter};
use crate::guard::csrf;
use crate::guard::rate::Caller;
use crate::oidc::Asked;
use crate::session::{Attempt, LoginAttempts, ReturnTo};

pub(super) async fn get(State(frontend): State<Frontend>, caller: Caller, parts: Parts) -> Result<Response, Error> {
    if parts.method == Method::HEAD {
        return Err(Error::LoginNeedsNavigation);
    }
    csrf::check_unframed_navigation(&parts.headers)?;
    // Only now: pages of others must not use up what a whole network behind one address may ask.
    caller.check(frontend.now())?;
    start(&frontend, &parts.headers, parts.uri.query().unwrap_or_default()).await
}

pub(super) async fn post(
    State(frontend): State<Frontend>,
    caller: Caller,
    request: Request,
) -> Result<Response, Error> {
    csrf::check_unframed_navigation(request.headers())?;
    caller.check(frontend.now())?;
    let (parts, body) = request.into_parts();
    let form = whole(body, LARGEST_FORM).await?;
    let form = String::from_utf8(form.into()).map_err(|_| Error::ReturnToNotAllowed)?;
    start(&frontend, &parts.headers, &form).await
}

async fn start(frontend: &Frontend, headers: &HeaderMap, parameters: &str) -> Result<Response, Error> {
    let wanted = Wanted::read(parameters, frontend)?;
    let note = wanted.return_to.as_str();
    // Long destinations stay in the attempt's cookie alone.
    let note = (note.len() <= LONGEST_NOTE).then(|| frontend.sessions().store().seal_cookie(NOTE, note.as_bytes()));
    let (url, oidc) =
        frontend.relying_party().begin_login(&wanted.asked, note.as_ref().map(|note| note.expose().as_str())).await?;
    let attempts = LoginAttempts::of(headers, frontend.cookies(), frontend.sessions().store(), frontend.now());
    let Wanted { return_to, remember, step_up, .. } = wanted;
    let attempt = Attempt { oidc, return_to: return_to.as_str().to_owned(), remember, step_up };
    let mut response = see_other(url.as_str())?;
    response.headers_mut().append(header::SET_COOKIE, attempts.add(&attempt));
    Ok(response)
}

/// What a login link wants, checked.
struct Wanted {
    return_to: ReturnTo,
    remember: bool,
    /// `asked` is a step-up's.
    step_up: bool,
    asked: Asked,
}

impl Wanted {
    fn read(parameters: &str, frontend: &Frontend) -> Result<Self, Error> {
        let (mut seen, mut from_elsewhere) = (HashSet::new(), false);
        let start = ReturnTo::start(frontend.url());
        let mut wanted = Self { return_to: start, remember: false, step_up: false, asked: Asked::default() };
        let mut hint = None;
        for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
            match &*name {
                "return_to" | "target_link_uri" => {
                    wanted.return_to = frontend.return_to(&value).ok_or(Error::ReturnToNotAllowed)?;
                }
                "iss" if *value == *frontend.relying_party().issuer() => from_elsewhere = true,
                "iss" => return Err(Error::UnknownIssuer),
                "remember" => wanted.remember = read_bool(&value).ok_or(refused("remember"))?,
                "step_up" => {
                    wanted.asked.demand = frontend.sessions().read_step_up(&value).ok_or(refused("step_up"))?;
                    wanted.step_up = true;
                }
                "login_hint" => hint = Some(value.into_owned()),
                name => wanted.ask(name, &value, frontend)?,
            }
            if !seen.insert(if name == "target_link_uri" { "return_to".into() } else { name }) {
                return Err(refused("repeated"));
            }
        }
        // OIDC Core §4: the provider that sends somebody may say whom.
        if hint.is_some() && !from_elsewhere && !allows(frontend, LoginParameter::LoginHint) {
            return Err(refused("login_hint"));
        }
        wanted.asked.login_hint = hint;
        // What it asks for is for it alone to say, and the session it strengthens is remembered or not.
        if wanted.step_up && ["acr_values", "max_age", "prompt", "remember"].iter().any(|name| seen.contains(*name)) {
            return Err(refused("step_up"));
        }
        Ok(wanted)
    }

    fn ask(&mut self, name: &str, value: &str, frontend: &Frontend) -> Result<(), Error> {
        let parameter = LoginParameter::ALL.into_iter().find(|parameter| parameter.name() == name);
        let parameter = parameter.ok_or(refused("unknown"))?;
        if !allows(frontend, parameter) || value.is_empty() {
            return Err(refused(parameter.name()));
        }
        let asked = &mut self.asked;
        match parameter {
            LoginParameter::Prompt => asked.prompt = Some(read_prompt(value).ok_or(refused("prompt"))?),
            LoginParameter::MaxAge => {
                let seconds: u32 = value.parse().map_err(|_| refused("max_age"))?;
                asked.demand.max_age = Some(Duration::from_secs(seconds.into()));
            }
            LoginParameter::AcrValues => asked.demand.acr_values = value.split(' ').map(str::to_owned).collect(),
            LoginParameter::UiLocales => asked.ui_locales = Some(value.to_owned()),
            LoginParameter::LoginHint => asked.login_hint = Some(value.to_owned()),
        }
        Ok(())
    }
}

/// Where a login that lost its attempt wanted to go, if it still says so.
pub(super) fn destination_of(note: Option<&str>, frontend: &Frontend) -> Option<ReturnTo> {
    let note = frontend.sessions().store().open_cookie(NOTE, note?)?;
    frontend.return_to(std::str::from_utf8(note.expose()).ok()?)
}

fn allows(frontend: &Frontend, parameter: LoginParameter) -> bool {
    frontend.options().allowed_login_parameters.contains(&parameter)
}

fn read_bool(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// `prompt` (OIDC Core §3.1.2.1): known values, and `none` alone.
fn read_prompt(value: &str) -> Option<String> {
    const KNOWN: [&str; 5] = ["none", "login", "consent", "select_account", "create"];
    let words: Vec<&str> = value.split(' ').collect();
    let known = words.iter().all(|word| KNOWN.contains(word));
    (known && (words.len() == 1 || !words.contains(&"none"))).then(|| value.to_owned())
}

fn refused(parameter: &'static str) -> Error {
    Error::LoginParameterNotAllowed { parameter }
}

/// What the sealed destination that travels with the state is bound to.
const NOTE: &str = "return_to";
const LONGEST_NOTE: usize = 512;
const LARGEST_FORM: usize = 8 * 1024;
