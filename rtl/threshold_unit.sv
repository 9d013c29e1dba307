// Makes the bits of a code from an accumulator, most significant first: a bit a cycle by division (linear), by a search
// that sees one threshold a cycle (table), or the accumulator's own bits (raw).
module threshold_unit #(
    parameter int unsigned THR_DEPTH = 2
) (
    input  logic        clk,
    // The accumulator, its row's sum, and the threshold entry, read in the cycle before.
    input  logic [31:0] acc,
    input  logic [31:0] row_sum,
    input  logic [47:0] entry_a,
    input  logic [31:0] entry_b,
    // What to do with them: mode, first cycle of a column group, number of the cycle, planes, plane that is due.
    input  logic        valid,
    input  logic [1:0]  kind,
    input  logic        bipolar,
    input  logic        invert_top,
    input  logic [3:0]  fraction,
    input  logic [5:0]  bits,
    input  logic        first,
    input  logic [7:0]  pass,
    input  logic [5:0]  plane,
    // The bit, THR_DEPTH - 1 cycles later.
    output logic        code
);
  /* verilator no_inline_module */  // One copy of the model's code serves all units.

  logic signed [31:0] value;
  assign value = bipolar ? (acc << 1) - row_sum : acc;

  // Plane, counted from the least significant.
  logic [4:0] below;
  assign below = 5'(bits - 6'd1 - plane);

  // ---- Linear: what is left of value * 2^fraction - A, less |B| << plane wherever that fits ----

  logic signed [50:0] rest, rest_before, divisor;
  logic signed [50:0] scaled, threshold;
  logic [31:0]        magnitude;
  logic               fits, constant;
  assign threshold = {{3{entry_a[47]}}, entry_a};
  assign scaled = {{19{value[31]}}, value} <<< fraction;
  assign magnitude = entry_b[31] ? -entry_b : entry_b;
  assign rest_before = !first ? rest : (entry_b[31] ? -scaled : scaled) - threshold;
  assign divisor = {19'd0, magnitude} <<< below;
  assign fits = rest_before >= divisor;
  // B = 0: the code is A, clipped to its planes.
  logic [7:0] highest;
  assign highest = 8'((9'd1 << bits[3:0]) - 9'd1);
  assign constant = !threshold[50] && (threshold > 51'(highest) || entry_a[6'(below)]);

  // ---- Table: a node of the search tree is met in the cycle that shows its threshold ----

  logic [7:0] node, node_before, node_after;
  logic       met, here, decision, decided;
  assign node_before = first ? '0 : node;
  assign here = pass == node_before;
`ifdef FAULT_TABLE_TIES
  assign met = entry_b[31] ? 51'(value) < threshold : 51'(value) > threshold;
`else
  assign met = entry_b[31] ? 51'(value) <= threshold : 51'(value) >= threshold;
`endif
  assign node_after = (node_before << 1) + (met ? 8'd2 : 8'd1);
  assign decision = here ? met : decided;

  logic made;
  always_comb begin
    case (kind)
      isa_pkg::THR_MODE_KIND_LINEAR: made = entry_b == '0 ? constant : fits;
      isa_pkg::THR_MODE_KIND_TABLE: made = decision;
      default: made = value[below];
    endcase
    if (invert_top && plane == '0) made = !made;
  end

  always_ff @(posedge clk) begin
    if (valid) begin
`ifdef FAULT_DIVISION_CARRY
      rest <= fits ? {rest_before[50:8] - divisor[50:8], rest_before[7:0] - divisor[7:0]} : rest_before;
`else
      rest <= fits ? rest_before - divisor : rest_before;
`endif
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
