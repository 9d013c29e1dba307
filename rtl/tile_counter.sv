// The loop nest that MAC and THR share: pooling positions, then channel tiles, then window tiles. The counters say which
// tile a step works on; they go on from the step before with the registers of the new one.
module tile_counter #(
    parameter int unsigned MAC_ROWS = 16,
    parameter int unsigned MAC_COLS = 16,
    parameter int unsigned MAC_LANES = 64
) (
    input  logic        clk,
    input  logic        clear,
    // Registers of the step.
    input  logic [3:0]  pool_y,
    input  logic [3:0]  pool_x,
    input  logic [9:0]  tiles,
    input  logic [9:0]  last_columns,
    input  logic [11:0] pitch,
    input  logic [11:0] out_y,
    input  logic [11:0] out_x,
    // The generator starts; the step works on the tile of the step before; it issues.
    input  logic        restart,
    input  logic        hold,
    input  logic        issue,
    // A step has been counted in this image.
    output logic        counted,
    // Of the step: its pooling position, channel tile, place of the tile in its word of channels, window tile, and the
    // output coordinates of the window tile's first row.
    output logic [3:0]  position_y,
    output logic [3:0]  position_x,
    output logic [9:0]  tile,
    output logic [6:0]  in_word,
    output logic [23:0] window,
    output logic [12:0] first_y,
    output logic [11:0] first_x,
    // Columns in use, and whether there are so many; the window tile lies behind the last.
    output logic [9:0]  columns,
    output logic        columns_fit,
    output logic        beyond
);
  // A tile never crosses a word of channels: a word has several tiles, or a tile several whole words.
  localparam int unsigned TILES_PER_WORD = (MAC_LANES + MAC_COLS - 1) / MAC_COLS;
  localparam int unsigned WHOLE = machine_pkg::maximum(MAC_COLS / MAC_LANES, 1) * MAC_LANES;

  logic [3:0]  y, x;
  logic [9:0]  t;
  logic [6:0]  w;
  logic [23:0] n;
  logic [12:0] fy;
  logic [11:0] fx;

  // The next window tile begins MAC_ROWS outputs later. Dividing that by the pitch needs no more bits than it has.
  localparam int unsigned ROWS = $clog2(MAC_ROWS + 1);
  logic            wide;
  logic [ROWS-1:0] divisor, quotient, remainder;
  logic [12:0]     step_y, beside_y;
  logic [12:0]     sum_x;
  assign wide = pitch > 12'(MAC_ROWS);
  assign divisor = ROWS'(pitch);
  assign quotient = ROWS'(MAC_ROWS) / divisor;
  assign remainder = ROWS'(MAC_ROWS) % divisor;
  assign step_y = wide ? '0 : 13'(quotient);
  assign sum_x = 13'(fx) + (wide ? 13'(MAC_ROWS) : 13'(remainder));
  assign beside_y = fy + step_y;

  logic from_zero, next_x, next_y, next_tile;
  assign from_zero = restart || !counted;
  assign next_x = x == pool_x - 4'd1;
  assign next_y = next_x && y == pool_y - 4'd1;
  assign next_tile = next_y && t == tiles - 10'd1;

  always_comb begin
    position_x = next_x ? '0 : x + 4'd1;
    position_y = next_y ? '0 : next_x ? y + 4'd1 : y;
    tile = next_tile ? '0 : next_y ? t + 10'd1 : t;
    in_word = next_tile ? '0 : !next_y ? w : 32'(w) == TILES_PER_WORD - 1 ? '0 : w + 7'd1;
    window = next_tile ? n + 24'd1 : n;
    first_y = !next_tile ? fy : sum_x >= 13'(pitch) ? beside_y + 13'd1 : beside_y;
    first_x = !next_tile ? fx : 12'(sum_x >= 13'(pitch) ? sum_x - 13'(pitch) : sum_x);
    if (hold) begin
      position_x = x;
      position_y = y;
      tile = t;
      in_word = w;
      window = n;
      first_y = fy;
      first_x = fx;
    end
    if (from_zero) begin
      position_x = '0;
      position_y = '0;
      tile = '0;
      in_word = '0;
      window = '0;
      first_y = '0;
      first_x = '0;
    end
  end

  logic [9:0] room;
  logic       last_tile;
  always_comb begin
    room = 10'(WHOLE);
    if (MAC_COLS < MAC_LANES) begin
      room = 10'(MAC_COLS);
      if (32'(in_word) == TILES_PER_WORD - 1) room = 10'(MAC_LANES - (TILES_PER_WORD - 1) * MAC_COLS);
    end
  end
  assign last_tile = tile == tiles - 10'd1;
  assign columns = last_tile ? last_columns : room;
  assign columns_fit = !last_tile || last_columns <= room;
  assign beyond = first_y >= 13'(out_y) || (first_y == 13'(out_y) - 13'd1 && first_x >= out_x);

  always_ff @(posedge clk) begin
    if (issue) begin
      x <= position_x;
      y <= position_y;
      t <= tile;
      w <= in_word;
      n <= window;
      fy <= first_y;
      fx <= first_x;
      counted <= 1'b1;
    end
    if (clear) counted <= 1'b0;
  end
endmodule
