// Makes the bits of a code from an accumulator, most significant first: a bit a cycle by division (linear), by a search
// that sees one threshold a cycle (table), or the accumulator's own bits (raw).
//
// The division does not restore: what is left may be negative, and then the next divisor, half of the one before, is added
// instead of subtracted. The sign is that of the division that restores.
module threshold_unit #(
    parameter int unsigned THR_DEPTH = 2
) (
    input  logic               clk,
    // The accumulator; the inverted sum of its row if values are bipolar, else 0.
    input  logic [31:0]        acc,
    input  logic [31:0]        row_term,
    // Of the column, whose entry was read in the cycle before.
    input  logic signed [56:0] addend,
    input  logic               negative,
    input  logic               constant,
    input  logic               constant_bit,
    // What to do with them: mode, first cycle of a column group, number of the cycle, planes, plane that is due.
    input  logic               valid,
    input  logic [1:0]         kind,
    input  logic               bipolar,
    input  logic               invert_top,
    input  logic [5:0]         bits,
    input  logic               first,
    input  logic [7:0]         pass,
    input  logic [5:0]         plane,
    // The bit, THR_DEPTH - 1 cycles later.
    output logic               code
);
  /* verilator no_inline_module */  // One copy of the model's code serves all units.

  // 2 * acc - row sum, or acc; adders are written as in `element`.
  logic [31:0] value;
  assign value = 32'(({row_term, 1'b1} + {bipolar ? acc << 1 : acc, bipolar}) >> 1);

  // ---- One adder: a value, or what is left of it, and what the column adds ----

  logic               fresh, minus;
  logic signed [56:0] rest, operand, result;
  assign fresh = first || kind == isa_pkg::THR_MODE_KIND_TABLE;
  assign minus = !fresh && !rest[56];
  assign operand = !fresh ? rest : {{10{value[31] ^ negative}}, value ^ {32{negative}}, {15{negative}}};
  assign result = 57'(({operand, 1'b1} + {addend ^ {57{minus}}, minus || (fresh && negative)}) >> 1);

  // ---- Table: a node of the search tree is met in the cycle that shows its threshold ----

  logic [7:0] node, node_before, node_after;
  logic       met, here, decision, decided;
  assign node_before = first ? '0 : node;
  assign here = pass == node_before;
  assign met = !result[56];
  assign node_after = {node_before[6:0], 1'b1} + 8'(met);
  assign decision = here ? met : decided;

  // ---- The bit ----

  logic [4:0] below;  // Plane, counted from the least significant.
  logic       made;
  assign below = 5'(bits - 6'd1 - plane);
  always_comb begin
    case (kind)
      isa_pkg::THR_MODE_KIND_LINEAR: made = constant ? constant_bit : met;
      isa_pkg::THR_MODE_KIND_TABLE: made = decision;
      default: made = value[below];
    endcase
    if (invert_top && plane == '0) made = !made;
  end

  always_ff @(posedge clk) begin
    if (valid) begin
      rest <= result;
      node <= here ? node_after : node_before;
      if (here) decided <= met;
    end
  end

  if (THR_DEPTH == 1) begin : g_direct
    assign code = made;
  end else begin : g_pipe
    logic [THR_DEPTH-2:0] stages;
    always_ff @(posedge clk) begin
      for (int unsigned i = 0; i < THR_DEPTH - 1; i++) stages[i] <= i == 0 ? made : stages[i-1];
    end
    assign code = stages[THR_DEPTH-2];
  end
endmodule
