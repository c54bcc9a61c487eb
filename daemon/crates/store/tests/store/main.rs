//! Tests of the store through its ports alone.

mod damage;
mod full;
mod kill;
mod make;
mod model;
