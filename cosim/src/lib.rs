//! Co-simulation: the machine in SystemVerilog, run under Verilator and compared with the simulator
//! in every cycle and every bit.
pub mod bench;
pub mod check;
pub mod compare;
pub mod faults;
pub mod generate;
pub mod limits;
pub mod mutants;
pub mod random;
pub mod replay;
pub mod verilator;
pub mod wave;
