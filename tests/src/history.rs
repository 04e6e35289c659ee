//! What the actors of a crash test saw.
