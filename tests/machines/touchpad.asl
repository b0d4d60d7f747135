/* SPDX-License-Identifier: Apache-2.0 */
/* I2C devices as firmware writes them: in the device's own scope, by a method, in another scope. */
DefinitionBlock ("", "SSDT", 2, "TEST", "TOUCHPAD", 1)
{
    Scope (\_SB)
    {
        Device (PC00)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Device (I2C0)
            {
                Name (_ADR, 0x00150000)
            }
            Device (I2C1)
            {
                Name (_ADR, 0x00150001)
                Device (SENS)
                {
                    Name (_HID, "MCHP1930")
                    Method (_CRS, 0, NotSerialized)
                    {
                        Name (SBUF, ResourceTemplate ()
                        {
                            I2cSerialBusV2 (0x0251, ControllerInitiated, 100000,
                                AddressingMode10Bit, "\\_SB.PC00.I2C1")
                        })
                        Return (SBUF)
                    }
                }
                Device (EITH)
                {
                    Name (_HID, "TEST0001")
                    Name (ONEB, ResourceTemplate ()
                    {
                        I2cSerialBusV2 (0x10, ControllerInitiated, 400000,
                            AddressingMode7Bit, "\\_SB.PC00.I2C1")
                    })
                    Name (TWOB, ResourceTemplate ()
                    {
                        I2cSerialBusV2 (0x20, ControllerInitiated, 400000,
                            AddressingMode7Bit, "\\_SB.PC00.I2C1")
                    })
                }
                Device (NONE)
                {
                    Name (_HID, "TEST0002")
                }
            }
        }
    }
    Scope (\_SB.PC00.I2C0)
    {
        Device (TPD0)
        {
            Name (_HID, "ELAN0678")
            Name (_CID, "PNP0C50")
            Name (_CRS, ResourceTemplate ()
            {
                I2cSerialBusV2 (0x15, ControllerInitiated, 400000,
                    AddressingMode7Bit, "\\_SB.PC00.I2C0")
                Interrupt (ResourceConsumer, Level, ActiveLow, Exclusive) { 0x33 }
            })
        }
    }
}
