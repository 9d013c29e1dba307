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
    // An image row: byte of the row that comes first (it may lie outside), bytes of the row, bytes of the window from here
    // on.
    input  logic                          pack,
    input  logic signed [31:0]            position,
    input  logic [23:0]                   row_bytes,
    input  logic [23:0]                   window_rest,
    input  logic [7:0]                    flip,
    input  logic [7:0]                    pad,
    output logic [8*WORD_BYTES-1:0]       word
);
  localparam int unsigned BITS = 8 * DRAM_WIDTH * BEATS;
  logic [BITS-1:0] shifted;
  assign shifted = beats >> {offset, 3'd0};

  // Bytes of the word before the row, up to the row's end, and up to the window's end: beyond the word it is all the same.
  localparam int unsigned PLACE = machine_pkg::index_bits(WORD_BYTES + 1);
  logic [31:0]           before_row, to_row_end;
  logic [WORD_BYTES-1:0] all, padded, zero;
  function automatic logic [PLACE-1:0] clip(input logic [31:0] bytes);
    clip = bytes > WORD_BYTES ? PLACE'(WORD_BYTES) : PLACE'(bytes);
  endfunction
  assign before_row = position[31] ? -position : '0;
  assign to_row_end = 32'(row_bytes) - position;
  assign all = '1;
  assign padded = ~(all << clip(before_row)) | (to_row_end[31] ? all : all << clip(to_row_end));
  assign zero = all << clip(32'(window_rest));

  always_comb begin
    for (int unsigned b = 0; b < WORD_BYTES; b++) begin
      word[8*b+:8] = shifted[8*b+:8];
      if (pack) begin
        word[8*b+:8] = shifted[8*b+:8] ^ flip;
        if (padded[b]) word[8*b+:8] = pad;
        if (zero[b]) word[8*b+:8] = '0;
      end
    end
  end
endmodule
