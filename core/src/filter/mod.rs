//! Which pages a dump leaves out or shares. Zero pages so far; page classes of the kernel have their own module later.

pub mod zero;
