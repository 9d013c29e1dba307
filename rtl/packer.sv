// One write lane of LOAD: cuts a word out of the beats that hold it. For an image row it also puts the pad code where the
// window reaches beyond the row, and zeros behind the window's last byte.
module packer #(
    parameter int unsigned WORD_BYTES = 8,
    parameter int unsigned DRAM_WIDTH = 8,
    // Beats that a word may touch.
    parameter int unsigned BEATS = 2
) (
    input  logic [8*DRAM_WIDTH*BEATS-1:0] beats,
    // Place of the word's first byte in the first beat.
    input  logic [5:0]                    offset,
    // An image row: byte of the row that comes first (it may lie outside), bytes of the row, bytes of the window before
    // and in all.
    input  logic                          pack,
    input  logic signed [31:0]            position,
    input  logic [23:0]                   row_bytes,
    input  logic [23:0]                   window_byte,
    input  logic [23:0]                   window_bytes,
    input  logic [7:0]                    flip,
    input  logic [7:0]                    pad,
    output logic [8*WORD_BYTES-1:0]       word
);
  localparam int unsigned BITS = 8 * DRAM_WIDTH * BEATS;
  logic [BITS-1:0] shifted;
  assign shifted = beats >> {offset, 3'd0};

  always_comb begin
    for (int unsigned b = 0; b < WORD_BYTES; b++) begin
      logic signed [31:0] place;
      place = position + 32'(b);
      word[8*b+:8] = shifted[8*b+:8];
      if (pack) begin
        word[8*b+:8] = shifted[8*b+:8] ^ flip;
`ifdef FAULT_PACK_EDGE
        if (place < 0 || place > $signed({8'd0, row_bytes})) word[8*b+:8] = pad;
`else
        if (place < 0 || place >= $signed({8'd0, row_bytes})) word[8*b+:8] = pad;
`endif
        if (32'(window_byte) + b >= 32'(window_bytes)) word[8*b+:8] = '0;
      end
    end
  end
endmodule
