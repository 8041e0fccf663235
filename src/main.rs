//! The program; everything is in the library.

/// Calls allocate little and often; beside glibc's this takes less time for it (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cloakroom::cli::run(std::env::args_os())
}
