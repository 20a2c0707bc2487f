//! Peers that mean harm to the server. Each test lets one at it, bounds what it can make the server take (every byte of
//! the heap is counted), and sees another client served meanwhile.
//!
//! Most run server and peer on one paused clock, so that deadlines are exact and cost no time.

mod calls;
mod deadlines;
mod floods;
mod hoards;
mod malformed;
mod peer;
mod silence;
mod world;

#[global_allocator]
static HEAP: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
