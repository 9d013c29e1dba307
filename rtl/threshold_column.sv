// What all threshold units of a column share: its entry, brought to what the next step of division or search adds.
//
// Values have 15 places of fraction in the units, so that all of a column is shifted and nothing of a row. A threshold whose
// magnitude is beyond every value, with every quotient, saturates; that decides the same bits.
module threshold_column (
    // The entry, read in the cycle before.
    input  logic [47:0]        entry_a,
    input  logic [31:0]        entry_b,
    // The cycle, as in `threshold_unit`.
    input  logic [1:0]         kind,
    input  logic [3:0]         fraction,
    input  logic [5:0]         bits,
    input  logic               first,
    input  logic [5:0]         plane,
    // What the units add to their values or, after the first cycle of a division, to what is left.
    output logic signed [56:0] addend,
    // Values count negative.
    output logic               negative,
    // The code is constant, and the bit of it that is due.
    output logic               constant,
    output logic               constant_bit
);
  logic is_table;
  assign is_table = kind == isa_pkg::THR_MODE_KIND_TABLE;

  // Plane, counted from the least significant. A code that is no raw accumulator has at most 8.
  logic [2:0] below;
  assign below = 3'(bits - 6'd1 - plane);

  // ---- The threshold, and |B| << below ----

  logic [3:0]         places;  // Places of fraction that the entry does not have.
  logic signed [62:0] wide;
  logic signed [55:0] threshold;
  logic [31:0]        magnitude;
  logic [53:0]        divisor;
  assign places = is_table ? 4'd15 : 4'd15 - fraction;
  assign wide = {{15{entry_a[47]}}, entry_a} <<< places;
  assign threshold = wide[62:55] == {8{wide[62]}} ? wide[55:0] : {wide[62], {55{!wide[62]}}};
  assign negative = entry_b[31];
  assign magnitude = negative ? -entry_b : entry_b;
  assign divisor = is_table ? '0 : 54'(magnitude) << (5'(places) + 5'(below));

  // A search asks for value >= A, or value <= A if values count negative; a division for value - A >= |B| << below.
  logic signed [56:0] subtracted;
  assign subtracted = 57'(threshold) + $signed({3'd0, divisor});
  always_comb begin
    if (is_table) addend = negative ? subtracted : -subtracted;
    else addend = first ? -subtracted : $signed({3'd0, divisor});
  end

  // ---- B = 0: the code is A, clipped to its planes ----

  logic [7:0] highest;
  assign highest = ~(8'hFF << bits[3:0]);
  assign constant = entry_b == '0;
  assign constant_bit = !entry_a[47] && (entry_a[46:8] != '0 || entry_a[7:0] > highest || entry_a[6'(below)]);
endmodule
