//! What histories prove.
