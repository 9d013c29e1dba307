// One element of the array: LANES AND gates, a sum of the lanes, a Horner register, and its place in every accumulator
// bank. In byte mode the lanes of a byte count 1, 2, 4, ...; otherwise each counts one.
module element #(
    parameter int unsigned MAC_LANES = 64,
    parameter int unsigned MAC_DEPTH = 4,
    parameter int unsigned ACC_BANKS = 2,
    // Terms may have gaps between them, as those of a row sum have.
    parameter bit          GAPS = 1'b0,
    localparam int unsigned BANK = machine_pkg::index_bits(ACC_BANKS)
) (
    input  logic                 clk,
    // Operands, and how their lanes count.
    input  logic [MAC_LANES-1:0] a,
    input  logic [MAC_LANES-1:0] w,
    input  logic                 byte_mode,
    input  logic                 byte_signed,
    // MAC_DEPTH - 1 cycles after the operands: what happens to their sum.
    input  logic                 valid,
    input  logic                 start,
    input  logic                 shift,
    input  logic                 negate,
    input  logic                 write,
    input  logic                 add,
    input  logic [BANK-1:0]      bank,
    // The drain's read port.
    input  logic                 drain,
    input  logic [BANK-1:0]      drain_bank,
    output logic [31:0]          drained
);
  /* verilator no_inline_module */  // One copy of the model's code serves all elements.

  logic signed [16:0] sum;
  always_comb begin
    sum = '0;
    for (int unsigned i = 0; i < MAC_LANES / 8; i++) begin
      logic [7:0] product;
      product = a[8*i+:8] & w[8*i+:8];
      if (byte_mode) sum = sum + 17'($signed({byte_signed & product[7], product}));
      else sum = sum + 17'($countones(product));
    end
  end

  logic signed [16:0] term;
  if (MAC_DEPTH == 1) begin : g_direct
    assign term = sum;
  end else begin : g_pipe
    logic signed [16:0] stages[MAC_DEPTH-1];
    always_ff @(posedge clk) begin
      stages[0] <= sum;
      for (int unsigned i = 1; i < MAC_DEPTH - 1; i++) stages[i] <= stages[i-1];
    end
    assign term = stages[MAC_DEPTH-2];
  end

  logic [31:0] horner, prior, result, complete;
  logic [31:0] banks[ACC_BANKS];
  assign prior = start ? '0 : shift ? horner << 1 : horner;
`ifdef FAULT_ACCUMULATOR_CARRY
  assign result = negate ? prior - 32'(term) : {prior[31:8] + {{15{term[16]}}, term[16:8]}, prior[7:0] + term[7:0]};
`else
  assign result = negate ? prior - 32'(term) : prior + 32'(term);
`endif
  assign complete = GAPS && !valid ? horner : result;

  always_ff @(posedge clk) begin
    if (valid) horner <= result;
    if (write) banks[bank] <= add ? banks[bank] + complete : complete;
    if (drain) drained <= banks[drain_bank];
  end
endmodule
