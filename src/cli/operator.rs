//! Who runs a command on this machine, as the audit log names them.

use crate::types::{Actor, deceives};

/// The user behind sudo, the user, or the number of one; printable, 64 characters at the most.
pub fn operator() -> Actor {
    let named = |variable| std::env::var(variable).ok().filter(|name: &String| !name.trim().is_empty());
    let user =
        named("SUDO_USER").or_else(|| named("USER")).unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let user: String = user.chars().filter(|c| !c.is_control() && !deceives(*c)).take(64).collect();
    Actor::operator(&user)
}
