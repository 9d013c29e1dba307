// One bank of an on-chip memory: one synchronous read port, one write port.
// A word that is read while it is written is undefined; programs that do so are races.
module scratchpad #(
    parameter int unsigned WIDTH = 64,
    parameter int unsigned WORDS = 512,
    localparam int unsigned ADDRESS = machine_pkg::index_bits(WORDS)
) (
    input  logic               clk,
    input  logic               read,
    input  logic [ADDRESS-1:0] read_address,
    output logic [WIDTH-1:0]   read_data,
    input  logic               write,
    input  logic [ADDRESS-1:0] write_address,
    input  logic [WIDTH-1:0]   write_data
);
  logic [WIDTH-1:0] words[WORDS];

  always_ff @(posedge clk) begin
    if (read) read_data <= words[read_address];
    if (write) words[write_address] <= write_data;
  end
endmodule
