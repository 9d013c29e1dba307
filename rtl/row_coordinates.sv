// Output coordinates of the rows of a window tile, from those of its first row.
module row_coordinates #(
    parameter int unsigned MAC_ROWS = 16
) (
    input  logic [12:0]            first_y,
    input  logic [11:0]            first_x,
    input  logic [11:0]            pitch,
    input  logic [11:0]            out_y,
    input  logic [11:0]            out_x,
    output logic [13*MAC_ROWS-1:0] y,
    output logic [12*MAC_ROWS-1:0] x,
    // Rows with an output; all others are masked.
    output logic [MAC_ROWS-1:0]    used
);
  always_comb begin
    logic [12:0] row_y;
    logic [11:0] row_x;
    row_y = first_y;
    row_x = first_x;
    for (int unsigned r = 0; r < MAC_ROWS; r++) begin
      y[13*r+:13] = row_y;
      x[12*r+:12] = row_x;
      used[r] = row_y < 13'(out_y) && row_x < out_x;
      if (row_x == pitch - 12'd1) begin
        row_x = '0;
        row_y = row_y + 13'd1;
      end else row_x = row_x + 12'd1;
    end
  end
endmodule
