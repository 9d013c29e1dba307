// A register group that has several words: the shadow is configured, the active copy belongs to the running instruction.
// Each word has two places in a memory. One holds the active copy; what is configured goes to the other, and the places
// change when an instruction takes what has been configured.
module register_table #(
    parameter int unsigned WIDTH = 96,
    parameter int unsigned WORDS = 4,
    localparam int unsigned INDEX = machine_pkg::index_bits(WORDS)
) (
    input  logic             clk,
    input  logic             clear,
    // A word is configured.
    input  logic             write,
    input  logic [INDEX-1:0] write_index,
    input  logic [WIDTH-1:0] write_data,
    // An instruction takes all words; never while one is configured.
    input  logic             take,
    // Reads a word, as it is configured or as it is taken.
    input  logic             read_shadow,
    input  logic [INDEX-1:0] read_index,
    output logic [WIDTH-1:0] read_data,
    // Words that have been configured in this image.
    output logic [WORDS-1:0] set
);
  logic [WIDTH-1:0] words[2*WORDS];
  logic [WORDS-1:0] active, changed;  // Place of the active copy; whether the other place holds what was configured since.

  assign read_data = words[{read_index, active[read_index] ^ (read_shadow && changed[read_index])}];

  always_ff @(posedge clk) begin
    if (write) begin
      words[{write_index, !active[write_index]}] <= write_data;
      changed[write_index] <= 1'b1;
      set[write_index] <= 1'b1;
    end
    if (take) begin
      active <= active ^ changed;
      changed <= '0;
    end
    if (clear) begin
      active <= '0;
      changed <= '0;
      set <= '0;
    end
  end
endmodule
