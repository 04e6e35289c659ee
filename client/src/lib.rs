//! Haulier Rust SDK.
