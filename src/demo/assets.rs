//! The demo app's files, inside the program, so that it runs from wherever it is started.

use crate::frontend::EmbeddedFile;

/// All of them; `index.html` is the page for every other path.
pub(super) const FILES: &[EmbeddedFile] = &[
    EmbeddedFile { path: "index.html", content: include_bytes!("../../static/demo/index.html") },
    EmbeddedFile { path: "app.js", content: include_bytes!("../../static/demo/app.js") },
    EmbeddedFile { path: "browser.js", content: include_bytes!("../../static/demo/browser.js") },
    EmbeddedFile { path: "calling.js", content: include_bytes!("../../static/demo/calling.js") },
    EmbeddedFile { path: "order.js", content: include_bytes!("../../static/demo/order.js") },
    EmbeddedFile { path: "page.js", content: include_bytes!("../../static/demo/page.js") },
    EmbeddedFile { path: "sessions.js", content: include_bytes!("../../static/demo/sessions.js") },
    EmbeddedFile { path: "ticket.js", content: include_bytes!("../../static/demo/ticket.js") },
    EmbeddedFile { path: "style.css", content: include_bytes!("../../static/demo/style.css") },
    EmbeddedFile { path: "icon.svg", content: include_bytes!("../../static/demo/icon.svg") },
];
