//! Co-simulation: the machine in SystemVerilog, run under Verilator and compared with the simulator in every cycle and every bit.
pub mod generate;
