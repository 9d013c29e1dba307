// The array: turns the words of the activation banks to their rows, and multiplies them with the columns' weights.
// Next to each row's elements one more with all weights 1 computes the row sum.
module array #(
    parameter int unsigned MAC_ROWS = 16,
    parameter int unsigned MAC_COLS = 16,
    parameter int unsigned MAC_LANES = 64,
    parameter int unsigned MAC_DEPTH = 4,
    parameter int unsigned ACC_BANKS = 2,
    parameter int unsigned THR_COLS = 8,
    localparam int unsigned BANK = machine_pkg::index_bits(ACC_BANKS),
    localparam int unsigned ROW = machine_pkg::index_bits(MAC_ROWS)
) (
    input  logic                          clk,
    // Words read in the cycle before, one a bank.
    input  logic [MAC_ROWS*MAC_LANES-1:0] activations,
    input  logic [MAC_COLS*MAC_LANES-1:0] weights,
    // What they are: bank of row 0; rows in use; rows whose tap lies inside the map, the others take the pad code;
    // lanes in use; columns in use.
    input  logic                          valid,
    input  logic [ROW-1:0]                rotation,
    input  logic [MAC_ROWS-1:0]           row_used,
    input  logic [MAC_ROWS-1:0]           row_inside,
    input  logic [7:0]                    pad,
    input  logic [9:0]                    lanes,
    input  logic [9:0]                    columns,
    // How they count.
    input  logic                          byte_mode,
    input  logic                          byte_signed,
    input  logic                          start,
    input  logic                          shift,
    input  logic                          negate,
    input  logic                          sum_valid,
    input  logic                          sum_shift,
    input  logic                          sum_negate,
    // The last words of a step: where the result goes.
    input  logic                          last,
    input  logic                          add,
    input  logic [BANK-1:0]               bank,
    // The drain reads a group of THR_COLS columns of a bank; values and row sums come with the next cycle.
    input  logic                          drain,
    input  logic [BANK-1:0]               drain_bank,
    input  logic [8:0]                    drain_group,
    output logic [MAC_ROWS*THR_COLS*32-1:0] drained,
    output logic [MAC_ROWS*32-1:0]        drained_sums
);
  localparam int unsigned GROUPS = (MAC_COLS + THR_COLS - 1) / THR_COLS;

  // ---- Operands ----

  logic [MAC_LANES-1:0] lane_mask;
  logic [MAC_COLS-1:0]  column_mask;
  assign lane_mask = ~({MAC_LANES{1'b1}} << lanes);
  assign column_mask = ~({MAC_COLS{1'b1}} << columns);

  // Row r takes the word of bank (r + rotation) mod rows.
  logic [MAC_LANES-1:0] turned[MAC_ROWS];
  always_comb begin
    logic [MAC_LANES-1:0] prior[MAC_ROWS];
    for (int unsigned r = 0; r < MAC_ROWS; r++) turned[r] = activations[r*MAC_LANES+:MAC_LANES];
    for (int unsigned i = 0; i < ROW; i++) begin
      for (int unsigned r = 0; r < MAC_ROWS; r++) prior[r] = turned[r];
      for (int unsigned r = 0; r < MAC_ROWS; r++) begin
        if (rotation[i]) turned[r] = prior[(r+(32'd1<<i))%MAC_ROWS];
      end
    end
  end

  logic [MAC_LANES-1:0] operands[MAC_ROWS];
  logic [MAC_LANES-1:0] columns_weights[MAC_COLS];
  for (genvar r = 0; r < MAC_ROWS; r++) begin : g_operand
    assign operands[r] = !row_used[r] ? '0 : (row_inside[r] ? turned[r] : {MAC_LANES / 8{pad}}) & lane_mask;
  end
  for (genvar c = 0; c < MAC_COLS; c++) begin : g_weight
    assign columns_weights[c] = weights[c*MAC_LANES+:MAC_LANES] & {MAC_LANES{column_mask[c]}};
  end

  // ---- What happens to the sums, MAC_DEPTH - 1 cycles later ----

  typedef struct packed {
    logic            valid;
    logic            start;
    logic            shift;
    logic            negate;
    logic            sum_valid;
    logic            sum_shift;
    logic            sum_negate;
    logic            last;
    logic            add;
    logic [BANK-1:0] bank;
  } control_t;
  control_t control, term;
  assign control = {valid, start, shift, negate, sum_valid, sum_shift, sum_negate, last, add, bank};
  if (MAC_DEPTH == 1) begin : g_direct
    assign term = control;
  end else begin : g_pipe
    logic [$bits(control)-1:0] stages[MAC_DEPTH-1];
    always_ff @(posedge clk) begin
      stages[0] <= control;
      for (int unsigned i = 1; i < MAC_DEPTH - 1; i++) stages[i] <= stages[i-1];
    end
    assign term = stages[MAC_DEPTH-2];
  end

  // ---- Elements ----

  logic [8:0]  group;
  logic [31:0] values[MAC_ROWS*MAC_COLS];
  always_ff @(posedge clk) if (drain) group <= drain_group;

  for (genvar r = 0; r < MAC_ROWS; r++) begin : g_row
    for (genvar c = 0; c < MAC_COLS; c++) begin : g_column
      element #(.MAC_LANES(MAC_LANES), .MAC_DEPTH(MAC_DEPTH), .ACC_BANKS(ACC_BANKS)) element (
          .clk, .a(operands[r]), .w(columns_weights[c]), .byte_mode, .byte_signed,
          .valid(term.valid), .start(term.start), .shift(term.shift), .negate(term.negate),
          .write(term.last), .add(term.add), .bank(term.bank),
          .drain(drain && 32'(drain_group) == c / THR_COLS), .drain_bank, .drained(values[r*MAC_COLS+c])
      );
    end
    // Sums run over the planes of the activations alone: they meet the first plane of the weights once each.
    element #(.MAC_LANES(MAC_LANES), .MAC_DEPTH(MAC_DEPTH), .ACC_BANKS(ACC_BANKS), .GAPS(1'b1)) row_sum (
        .clk, .a(operands[r]), .w('1), .byte_mode, .byte_signed,
        .valid(term.sum_valid), .start(term.start), .shift(term.sum_shift), .negate(term.sum_negate),
        .write(term.last), .add(term.add), .bank(term.bank),
        .drain, .drain_bank, .drained(drained_sums[32*r+:32])
    );
    for (genvar i = 0; i < THR_COLS; i++) begin : g_drained
      always_comb begin
        drained[32*(r*THR_COLS+i)+:32] = '0;
        for (int unsigned g = 0; g < GROUPS; g++) begin
          if (32'(group) == g && g * THR_COLS + i < MAC_COLS)
            drained[32*(r*THR_COLS+i)+:32] = values[r*MAC_COLS+g*THR_COLS+i];
        end
      end
    end
  end
endmodule
