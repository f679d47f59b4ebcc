//! tmp
fn main() -> std::process::ExitCode {
    let json = std::env::args().any(|a| a == "json");
    let form = if json { flyball::demo::Form::Json } else { flyball::demo::Form::Text };
    match flyball::demo::play(flyball::demo::DemoArgs { output: form }) {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::from(1),
        Err(e) => { eprintln!("{e:?}"); std::process::ExitCode::from(2) }
    }
}
