// One row's word buffers and the merging of codes into them: the maximum over the positions of a pooling window, a plane a
// cycle from the most significant. Two candidates, the code kept and the new one, stay in as long as they are equal.
module max_pool_unit #(
    parameter int unsigned MAC_COLS = 16,
    parameter int unsigned MAC_LANES = 64,
    parameter int unsigned THR_COLS = 8,
    parameter int unsigned THR_BUFFERS = 2,
    // Lanes of a buffer: of the word, or of the whole words that a tile holds.
    localparam int unsigned LANES = machine_pkg::maximum(MAC_COLS / MAC_LANES, 1) * MAC_LANES,
    localparam int unsigned BUFFER = machine_pkg::index_bits(THR_BUFFERS)
) (
    input  logic                clk,
    // A plane of a group of columns.
    input  logic                valid,
    input  logic [THR_COLS-1:0] codes,
    input  logic [5:0]          plane,
    input  logic [8:0]          group,
    input  logic [6:0]          in_word,
    input  logic [BUFFER-1:0]   buffer,
    // First position of the window; this row leaves the position out; codes are two's complement.
    input  logic                first,
    input  logic                left_out,
    input  logic                is_signed,
    // The write stage's read port.
    input  logic [BUFFER-1:0]   read_buffer,
    input  logic [4:0]          read_plane,
    output logic [LANES-1:0]    read_lanes
);
  localparam int unsigned PLANE = machine_pkg::index_bits(THR_BUFFERS * 32);  // A code has at most 32 planes.
  logic [LANES-1:0] planes[THR_BUFFERS*32];
  logic [LANES-1:0] prior, after;
  logic [PLANE-1:0] here;
  assign here = PLANE'({buffer, plane[4:0]});
  assign prior = planes[here];
  assign read_lanes = planes[PLANE'({read_buffer, read_plane})];

  // Lane l holds column l mod cols of tile l div cols of its word; column c comes through place c mod thr.cols of its group.
  logic [LANES-1:0]    selected;
  logic [THR_COLS-1:0] kept, kept_in, code_in, kept_wins, code_wins, top, merged;
  logic                sign;
  assign sign = is_signed && plane == '0;

  always_comb begin
    kept = '0;
    for (int unsigned l = 0; l < LANES; l++) begin
      int unsigned column;
      column = MAC_COLS < MAC_LANES ? l % MAC_COLS : l;
      selected[l] = 32'(group) == column / THR_COLS && (MAC_COLS >= MAC_LANES || 32'(in_word) == l / MAC_COLS);
      if (selected[l] && prior[l]) kept[column%THR_COLS] = 1'b1;
    end
  end

  assign kept_in = plane == '0 ? '1 : kept_wins;
  assign code_in = plane == '0 ? '1 : code_wins;
  assign top = (kept_in & (kept ^ {THR_COLS{sign}})) | (code_in & (codes ^ {THR_COLS{sign}}));
  always_comb begin
    if (left_out) merged = first ? {THR_COLS{sign}} : kept;
    else merged = first ? codes : top ^ {THR_COLS{sign}};
    after = prior;
    for (int unsigned l = 0; l < LANES; l++) begin
      int unsigned column;
      column = MAC_COLS < MAC_LANES ? l % MAC_COLS : l;
      if (selected[l]) after[l] = merged[column%THR_COLS];
    end
  end

  always_ff @(posedge clk) begin
    if (valid) begin
      planes[here] <= after;
      kept_wins <= kept_in & ~(top & ~(kept ^ {THR_COLS{sign}}));
      code_wins <= code_in & ~(top & ~(codes ^ {THR_COLS{sign}}));
    end
  end
endmodule
